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

/// Masks everything that has the shape of an access token: an org id (`00D` and 12 or 15 more), `!`, opaque characters.
pub(crate) fn mask_tokens(text: &mut String) {
    let mut from = 0;
    while let Some(at) = text[from..].find('!').map(|at| from + at) {
        from = at + 1;
        let before = text[..at].bytes().rev().take_while(u8::is_ascii_alphanumeric).count();
        let is_org = matches!(before, 15 | 18) && text[at - before..].starts_with("00D");
        let opaque = text[at + 1..].bytes().take_while(|b| b.is_ascii_alphanumeric() || b"._-+/=".contains(b)).count();
        if is_org && opaque > 0 {
            text.replace_range(at - before..=at + opaque, MASK);
            from = at - before + MASK.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tokens_are_masked_by_their_shape() {
        let mut text = "bad 00Dxx0000001gER!AQ.x_-1, and 00Dxx0000001gERAAA!b; hello! 00Dxx!c".to_owned();
        mask_tokens(&mut text);
        assert_eq!(text, "bad ***_-1, and ***; hello! 00Dxx!c".replace("_-1", ""));
    }

    proptest! {
        #[test]
        fn any_text_is_masked_without_panic(mut text in "(00D[a-zé]{0,20}|!|[a-z é]{0,5}){0,6}") {
            mask_tokens(&mut text);
        }
    }
}
