//! Text that must not be seen.

use std::fmt;
use std::sync::Arc;

/// What stands in the place of a secret.
pub(crate) const MASK: &str = "***";

/// A secret: prints as `***`, leaves only through `expose`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(Arc::from(text.as_ref()))
    }

    /// Returns the text itself: only for the wire.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Replaces each occurrence of the secret in `text`. A secret under four bytes is left: masking it would only
    /// garble the sentence and show where it stood.
    pub(crate) fn scrub(&self, text: &mut String) {
        if self.0.len() >= 4 && text.contains(&*self.0) {
            *text = text.replace(&*self.0, MASK);
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}
