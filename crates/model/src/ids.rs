//! One newtype per id, so that no bare string or number crosses a crate.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a name; the text is taken as it is.
            pub fn new(name: impl AsRef<str>) -> Self {
                Self(Arc::from(name.as_ref()))
            }

            /// Returns the name's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self::new(name)
            }
        }
    };
}

name_id!(
    /// The pipeline: one configuration file, one share of the org.
    PipelineId
);
name_id!(
    /// A source by its name in the configuration.
    SourceId
);
name_id!(
    /// A stream: an ordered, partitioned topic in the log.
    StreamId
);
name_id!(
    /// A route: one way from a stream to a sink.
    RouteId
);
name_id!(
    /// A Salesforce org by its name in the configuration.
    OrgId
);
name_id!(
    /// A target object (`Account`, `Order__c`), in the target's own spelling.
    ObjectName
);
name_id!(
    /// A writer of a stream that wants its own last position back after a crash.
    ProducerId
);

/// A batch of rows sent to a sink; unique in a pipeline's state, ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchId(pub u64);

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{}", self.0)
    }
}
