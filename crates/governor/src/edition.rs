//! What editions, licences and add-ons entitle an org to: the maxima that are assumed until the org has told its own.
//!
//! Source: "Salesforce Developer Limits and Allocations Quick Reference" (reference, section 7). Live values always win.

use crate::allocation::{
    API_REQUESTS, AllocationSpec, BULK_BATCHES, DATA_STORAGE, EVENTS_DELIVERED, EVENTS_PUBLISHED, QUERY_JOBS,
    QUERY_MEGABYTES, STANDARD_EVENTS_PUBLISHED,
};

/// An org's edition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edition {
    /// Also trials.
    #[default]
    Developer,
    /// Professional with API access counts as Enterprise.
    Professional,
    Enterprise,
    Unlimited,
    Performance,
    /// A full sandbox that was not made from a template.
    FullSandbox,
}

/// The three columns of the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    Developer,
    Enterprise,
    Unlimited,
}

impl Edition {
    fn column(self) -> Column {
        match self {
            Self::Developer => Column::Developer,
            Self::Professional | Self::Enterprise | Self::FullSandbox => Column::Enterprise,
            Self::Unlimited | Self::Performance => Column::Unlimited,
        }
    }

    fn pick(self, developer: u64, enterprise: u64, unlimited: u64) -> u64 {
        match self.column() {
            Column::Developer => developer,
            Column::Enterprise => enterprise,
            Column::Unlimited => unlimited,
        }
    }
}

/// What an org has bought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Entitlement {
    pub edition: Edition,
    /// Salesforce and Salesforce Platform licences.
    pub licences: u64,
    /// API requests a day that were bought on top.
    pub api_requests_added: u64,
    /// High-volume platform event add-ons: each adds 100,000 deliveries a day and 25,000 publications an hour.
    pub event_add_ons: u64,
}

impl Entitlement {
    /// The maximum of an allocation, in its own unit; none when it is not known to depend on the edition.
    pub fn max_of(&self, allocation: &str) -> Option<u64> {
        let edition = self.edition;
        Some(match allocation {
            API_REQUESTS => self.api_requests(),
            BULK_BATCHES => 15_000,
            QUERY_JOBS => 10_000,
            QUERY_MEGABYTES => 1 << 20,
            EVENTS_PUBLISHED => edition.pick(50_000, 250_000, 250_000) + 25_000 * self.event_add_ons,
            EVENTS_DELIVERED => edition.pick(10_000, 25_000, 50_000) + 100_000 * self.event_add_ons,
            STANDARD_EVENTS_PUBLISHED => edition.pick(1_000, 100_000, 100_000),
            DATA_STORAGE => edition.pick(5, 10_240 + 20 * self.licences, 10_240 + 120 * self.licences),
            _ => return None,
        })
    }

    fn api_requests(&self) -> u64 {
        let base = match self.edition {
            Edition::Developer => return 15_000 + self.api_requests_added,
            Edition::FullSandbox => return 5_000_000,
            edition => edition.pick(0, 1_000, 5_000) * self.licences,
        };
        100_000 + base + self.api_requests_added
    }

    /// Calls of 20 s or more at once (reference, section 2.12).
    pub fn long_calls(&self) -> usize {
        if self.edition == Edition::Developer { 5 } else { 25 }
    }

    /// Puts the maxima into rows as the assumed ones.
    pub fn assume(&self, rows: &mut [AllocationSpec]) {
        for row in rows {
            row.assumed_max = self.max_of(&row.name).unwrap_or(row.assumed_max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_references_examples_come_out() {
        let enterprise = Entitlement { edition: Edition::Enterprise, licences: 15, ..Entitlement::default() };
        assert_eq!(enterprise.max_of(API_REQUESTS), Some(115_000));
        assert_eq!(enterprise.long_calls(), 25);
        let with_add_on = Entitlement { event_add_ons: 1, ..enterprise };
        assert_eq!(with_add_on.max_of(EVENTS_DELIVERED), Some(125_000));
        assert_eq!(with_add_on.max_of(EVENTS_PUBLISHED), Some(275_000));
        let unlimited = Entitlement { edition: Edition::Performance, licences: 2, event_add_ons: 1, ..enterprise };
        assert_eq!(unlimited.max_of(API_REQUESTS), Some(110_000));
        assert_eq!(unlimited.max_of(EVENTS_DELIVERED), Some(150_000));
        assert_eq!(Entitlement::default().max_of(API_REQUESTS), Some(15_000));
        assert_eq!(Entitlement::default().long_calls(), 5);
        assert_eq!(Entitlement::default().max_of("SingleEmail"), None);
    }

    #[test]
    fn an_unnamed_edition_is_assumed_to_be_the_smallest() {
        let mut rows = AllocationSpec::all();
        Entitlement::default().assume(&mut rows);
        assert_eq!(rows, AllocationSpec::all(), "the rows' own maxima are the Developer edition's");
    }
}
