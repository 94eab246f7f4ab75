//! Which limit the org speaks of when it refuses a call, so that nothing else is held.

use crate::allocation::{API_REQUESTS, BULK_BATCHES, DATA_STORAGE, EVENTS_PUBLISHED};

/// What is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit<'a> {
    /// The org did not say what it speaks of.
    Everything,
    /// Calls of 20 s or more at once: calls that are waited for are held, background work is not.
    LongCalls,
    /// Whoever needs something of this allocation is held.
    Allocation(&'a str),
}

impl Limit<'static> {
    /// Reads it from the org's code and sentence. `of_events`: the call published platform events; `of_bulk`: it was for
    /// a Bulk job.
    ///
    /// Source: reference, sections 2.9 (codes and the three sentences of `REQUEST_LIMIT_EXCEEDED`) and 6.
    pub fn spoken_of(code: &str, message: &str, of_events: bool, of_bulk: bool) -> Self {
        match code {
            "REQUEST_LIMIT_EXCEEDED" if message.contains("Concurrent") => Self::LongCalls,
            "REQUEST_LIMIT_EXCEEDED" => Self::Allocation(API_REQUESTS),
            "STORAGE_LIMIT_EXCEEDED" => Self::Allocation(DATA_STORAGE),
            "LIMIT_EXCEEDED" | "EXCEEDED_QUOTA" if of_events => Self::Allocation(EVENTS_PUBLISHED),
            "LIMIT_EXCEEDED" | "EXCEEDED_QUOTA" | "TOO_MANY_JOBS" if of_bulk => Self::Allocation(BULK_BATCHES),
            "EXCEEDED_QUOTA" => Self::Allocation(DATA_STORAGE),
            "TOO_MANY_JOBS" => Self::Allocation(BULK_BATCHES),
            _ => Self::Everything,
        }
    }

    /// True when an upsert would meet the same refusal whichever way it goes. (Of a full storage only creates can know
    /// beforehand.)
    pub fn stops_upserts(self) -> bool {
        !matches!(self, Self::Allocation(BULK_BATCHES | EVENTS_PUBLISHED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_orgs_sentences_tell_what_is_held() {
        let of = |code, message, events, bulk| Limit::spoken_of(code, message, events, bulk);
        let total = "TotalRequests Limit exceeded.";
        assert_eq!(of("REQUEST_LIMIT_EXCEEDED", total, false, false), Limit::Allocation("DailyApiRequests"));
        let long = "ConcurrentPerOrgLongTxn Limit exceeded.";
        assert_eq!(of("REQUEST_LIMIT_EXCEEDED", long, true, true), Limit::LongCalls);
        assert_eq!(of("REQUEST_LIMIT_EXCEEDED", "ConcurrentRequest", false, false), Limit::LongCalls);
        assert_eq!(of("LIMIT_EXCEEDED", "", true, false), Limit::Allocation("HourlyPublishedPlatformEvents"));
        assert_eq!(of("LIMIT_EXCEEDED", "", false, true), Limit::Allocation("DailyBulkApiBatches"));
        assert_eq!(of("LIMIT_EXCEEDED", "", false, false), Limit::Everything);
        assert_eq!(of("TOO_MANY_JOBS", "", false, false), Limit::Allocation("DailyBulkApiBatches"));
        assert_eq!(
            of("STORAGE_LIMIT_EXCEEDED", "storage limit exceeded", false, true),
            Limit::Allocation("DataStorageMB")
        );
        assert!(!of("LIMIT_EXCEEDED", "", true, false).stops_upserts());
        assert!(of("REQUEST_LIMIT_EXCEEDED", total, true, false).stops_upserts());
    }
}
