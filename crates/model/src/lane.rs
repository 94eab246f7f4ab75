//! Priority classes in the governor and the window.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A priority class: who goes first when the org's allocation is short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Lane {
    /// Goes first; its reserved part of a budget is never lent while it has work.
    Critical = 0,
    #[default]
    Standard = 1,
    /// Takes what the others leave.
    Bulk = 2,
}

impl Lane {
    /// Every lane, highest priority first.
    pub const ALL: [Lane; 3] = [Lane::Critical, Lane::Standard, Lane::Bulk];

    /// Returns the word used in configuration, metrics and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Lane::Critical => "critical",
            Lane::Standard => "standard",
            Lane::Bulk => "bulk",
        }
    }

    /// Parses the configuration's word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.as_str() == word)
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
