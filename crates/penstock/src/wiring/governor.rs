//! An org's settings → its governor's.

use crate::config::{OrgConfig, Percent};
use governor::{Entitlement, GovernorConfig, Permille};

/// What a ledger entry reserves ahead of time at most while little is sent: a crash wastes up to so much.
const GOVERNOR_AHEAD: u64 = 200;

/// An org's governor.
pub fn governor_config(org: &OrgConfig) -> GovernorConfig {
    let permille = |percent: Percent| Permille((percent.0 * 10.0).round() as u16);
    let lanes = &org.lanes;
    let mut defaults = GovernorConfig::default();
    if let Some(entitlement) = org.entitlement.map(Entitlement::from) {
        entitlement.assume(&mut defaults.allocations);
        defaults.long_calls_max = entitlement.long_calls();
    }
    for row in &mut defaults.allocations {
        row.share = org.share.by.iter().find(|(name, _)| row.is_named(name)).map(|(_, share)| permille(*share));
    }
    for level in &mut defaults.levels {
        let share = org.share.by.iter().find(|(name, _)| level.is_named(name));
        level.full_at = share.map_or(level.full_at, |(_, share)| permille(*share));
    }
    GovernorConfig {
        share: permille(org.share.default),
        reserved: [permille(lanes.critical), permille(lanes.standard), permille(lanes.bulk)],
        burst: if org.pacing { defaults.burst } else { Permille(1000) },
        // A place for every batch, and those that only critical ones may use.
        in_flight_max: org.concurrency + defaults.in_flight_critical,
        reading_lag: org.limits_lag.0,
        ahead: GOVERNOR_AHEAD,
        ..defaults
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_text;

    const CITY: &str = include_str!("../../../../examples/city.yaml");

    fn of(org: &str) -> GovernorConfig {
        let text = CITY.replacen("    share: 50%\n", org, 1);
        assert_ne!(text, CITY);
        let loaded = load_text("city.yaml", &text);
        let config = loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.findings));
        governor_config(&config.orgs["main"]).checked().expect("it can be kept")
    }

    #[test]
    fn each_allocation_has_its_share_and_its_assumed_maximum() {
        let config = of("    share: {default: 40%, DailyBulkApiBatches: 80%, DataStorageMB: 95%}\n    \
                         entitlement: {edition: unlimited, licences: 3, event_add_ons: 1}\n");
        let row = |name: &str| config.allocations.iter().find(|row| row.is_named(name)).expect("a row");
        assert_eq!(config.share, Permille(400));
        assert_eq!((row("DailyApiRequests").share, row("DailyApiRequests").assumed_max), (None, 115_000));
        assert_eq!(row("DailyBulkApiRequests").share, Some(Permille(800)), "by its older name, too");
        assert_eq!(row("HourlyPublishedPlatformEvents").assumed_max, 275_000);
        assert_eq!(config.levels[0].full_at, Permille(950));
        assert_eq!(config.levels[1].full_at, Permille(1000), "the default share is not for levels");
        assert_eq!(config.long_calls_max, 25);
    }

    #[test]
    fn without_an_entitlement_the_smallest_edition_is_assumed() {
        let config = of("    share: 70%\n");
        assert_eq!((config.share, config.allocations[0].assumed_max), (Permille(700), 15_000));
        assert_eq!(config.long_calls_max, 25, "the org refuses earlier if it allows fewer");
    }
}
