//! The ways in which a Salesforce org takes rows.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A way of writing to a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Api {
    /// sObject Collections: up to 200 rows of one object in a call, each with its own answer.
    #[default]
    Collections = 0,
    /// Composite Graph: rows of several objects, applied together or not at all.
    Graph = 1,
    /// Bulk API 2.0: a job of many rows, answered when the org has worked it off.
    Bulk = 2,
    /// Platform events by REST: up to 200 events in a call.
    Event = 3,
    /// Platform events by the Pub/Sub API: costs no API request.
    #[serde(rename = "pubsub")]
    PubSub = 4,
    /// One record in a call.
    Rest = 5,
}

impl Api {
    /// Every way, in the order of their numbers.
    pub const ALL: [Api; 6] = [Api::Collections, Api::Graph, Api::Bulk, Api::Event, Api::PubSub, Api::Rest];

    /// Returns the word used in configuration, journals, metrics and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Api::Collections => "collections",
            Api::Graph => "graph",
            Api::Bulk => "bulk",
            Api::Event => "event",
            Api::PubSub => "pubsub",
            Api::Rest => "rest",
        }
    }

    /// Parses the configuration's word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|api| api.as_str() == word)
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_ones_that_journals_hold() {
        for (number, api) in Api::ALL.into_iter().enumerate() {
            assert_eq!(api as usize, number);
            assert_eq!(Api::from_word(api.as_str()), Some(api));
            assert_eq!(serde_json::to_string(&api).unwrap(), format!("\"{api}\""));
        }
        assert_eq!(Api::from_word("soap"), None);
    }
}
