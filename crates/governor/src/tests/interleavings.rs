//! Every interleaving of two processes on one ledger, to a depth, with crashes and lost answers at every step.
//!
//! A process asks, reads the ledger, has its entry reach the store, learns of it or never does, crashes and starts again, in any
//! order that its own state allows. After every step, what all processes have really granted is at most the maximum, and
//! nobody's entry promises less than its process has spent. States that were seen before are not walked again.

use super::*;
use crate::doubt::Doubt;
use crate::lease::Lease;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

const MAX: u64 = 4;
/// States that are walked at most; all those of fewer steps come first.
const STATES_MAX: usize = 40_000;

#[derive(Clone, Debug)]
struct OnItsWay {
    expected: u64,
    entry: Snapshot,
    /// Set when it has reached the store: whether it stands.
    reached: Option<bool>,
}

#[derive(Clone, Debug)]
struct Process {
    /// None: crashed.
    governor: Option<Governor>,
    on_its_way: Option<OnItsWay>,
    /// Of which nobody knows; it may still arrive, as long as its process lives.
    adrift: Option<OnItsWay>,
    /// What it and those before it have granted, in truth.
    granted: u64,
    crashes: u32,
}

#[derive(Clone, Debug)]
struct World {
    version: u64,
    entries: [Option<Snapshot>; 2],
    processes: [Process; 2],
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Ask(u32),
    Read,
    Reach,
    Learn,
    /// Gives up waiting for the answer: the entry may have reached the store, or reach it later.
    GiveUp,
    Drift,
    Crash,
    Start,
}

const ACTS: [Act; 9] =
    [Act::Ask(1), Act::Ask(3), Act::Read, Act::Reach, Act::Learn, Act::GiveUp, Act::Drift, Act::Crash, Act::Start];

fn small() -> GovernorConfig {
    let mut row = AllocationSpec::daily_api_requests();
    row.assumed_max = MAX;
    GovernorConfig {
        allocations: vec![row],
        share: Permille(1000),
        ahead: 2,
        burst: Permille(1000),
        ..GovernorConfig::default()
    }
}

impl World {
    fn new() -> Self {
        let process = Process { governor: None, on_its_way: None, adrift: None, granted: 0, crashes: 0 };
        Self { version: 0, entries: [None, None], processes: [process.clone(), process] }
    }

    /// Does it, or says that it cannot be done now.
    fn act(&mut self, who: usize, act: Act) -> bool {
        match act {
            Act::Start => return self.start(who),
            _ if self.processes[who].governor.is_none() => return false,
            _ => {}
        }
        let process = &mut self.processes[who];
        let governor = process.governor.as_mut().expect("alive");
        match act {
            Act::Ask(calls) => {
                let route = route();
                let Decision::Granted(permit) = governor.request(&urgent(&route, Lane::Critical, calls), at(0)) else {
                    // A refusal may still have asked for a larger lease.
                    return true;
                };
                governor.finish(permit, Spend::calls(calls), at(0));
                process.granted += u64::from(calls);
            }
            Act::Read => {
                if process.on_its_way.is_some() {
                    return false;
                }
                let other = self.entries[1 - who].clone();
                let peers: Vec<Peer> = other.map(|entry| Peer { member: "other".into(), entry }).into_iter().collect();
                let entry = governor.entry(&peers, at(0));
                process.on_its_way = Some(OnItsWay { expected: self.version, entry, reached: None });
            }
            Act::Reach => {
                let Some(mut entry) = process.on_its_way.take().filter(|entry| entry.reached.is_none()) else {
                    return false;
                };
                self.reach(who, &mut entry);
                self.processes[who].on_its_way = Some(entry);
            }
            Act::Learn => {
                let Some(stands) = process.on_its_way.as_ref().and_then(|entry| entry.reached) else { return false };
                process.on_its_way = None;
                governor.stored(if stands { Stored::Yes } else { Stored::Refused });
            }
            Act::GiveUp => {
                if process.adrift.is_some() {
                    return false;
                }
                let Some(entry) = process.on_its_way.take() else { return false };
                process.adrift = Some(entry).filter(|entry| entry.reached.is_none());
                governor.stored(Stored::Unknown);
            }
            Act::Drift => {
                let Some(mut entry) = process.adrift.take() else { return false };
                self.reach(who, &mut entry);
            }
            Act::Crash => {
                if process.crashes == 1 {
                    return false;
                }
                *process = Process {
                    governor: None,
                    on_its_way: None,
                    adrift: None,
                    crashes: process.crashes + 1,
                    ..*process
                };
            }
            Act::Start => unreachable!("handled above"),
        }
        true
    }

    fn start(&mut self, who: usize) -> bool {
        if self.processes[who].governor.is_some() {
            return false;
        }
        let governor = match &self.entries[who] {
            Some(entry) => Governor::restore(small(), entry, at(0)),
            None => Governor::new(small(), at(0)),
        };
        self.processes[who].governor = Some(governor.expect("valid"));
        true
    }

    fn reach(&mut self, who: usize, entry: &mut OnItsWay) {
        let stands = entry.expected == self.version;
        entry.reached = Some(stands);
        if stands {
            self.version += 1;
            self.entries[who] = Some(entry.entry.clone());
        }
    }

    fn check(&self, path: &[(usize, Act)]) {
        let all: u64 = self.processes.iter().map(|process| process.granted).sum();
        assert!(all <= MAX, "{all} of {MAX} were spent: {path:?}");
        for (entry, process) in self.entries.iter().zip(&self.processes) {
            let promised = entry.as_ref().map_or(0, |entry| {
                let row = &entry.rows[0];
                let spent: u64 = row.buckets.iter().flat_map(|bucket| bucket.spent).sum();
                spent + row.lease + row.doubt.iter().map(|(_, amount)| amount).sum::<u64>()
            });
            assert!(promised >= process.granted, "{promised} covers {}: {path:?}", process.granted);
        }
    }

    /// States with the same key behave alike: times stand still, permits are finished, and versions only count as equal or not.
    fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (process, entry) in self.processes.iter().zip(&self.entries) {
            (process.granted, process.crashes, entry.as_ref().map(of_entry)).hash(&mut hasher);
            process.governor.as_ref().map(of_governor).hash(&mut hasher);
            for entry in [&process.on_its_way, &process.adrift] {
                let of = |way: &OnItsWay| (self.version - way.expected, way.reached, of_entry(&way.entry));
                entry.as_ref().map(of).hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}

/// Certain spending, doubts, the lease.
fn of_entry(entry: &Snapshot) -> [u64; 3] {
    let row = &entry.rows[0];
    let spent = row.buckets.iter().flat_map(|bucket| bucket.spent).sum();
    [spent, row.doubt.iter().map(|(_, amount)| amount).sum(), row.lease]
}

fn of_governor(governor: &Governor) -> (u64, u64, Lease, Vec<[u64; 3]>, [bool; 2]) {
    let row = &governor.rows[0];
    let doubts = |doubt: &Doubt| doubt.buckets().map(|(_, amount)| amount).sum::<u64>();
    let siblings = row.siblings.iter();
    let siblings = siblings.map(|of| [of.ledger.total(), doubts(&of.doubt), of.doubt.lease.amount]).collect();
    let flags = [governor.store_wanted, governor.lease_until_ms > governor.now_ms];
    (row.ledger.total(), doubts(&row.doubt), row.lease.clone(), siblings, flags)
}

#[test]
fn two_processes_never_overspend_together_in_any_interleaving() {
    let mut world = World::new();
    for (who, act) in
        [0, 1].into_iter().flat_map(|who| [Act::Start, Act::Read, Act::Reach, Act::Learn].map(|act| (who, act)))
    {
        assert!(world.act(who, act));
    }
    let (mut seen, mut layer, mut most) = (HashSet::new(), vec![(world, Vec::new())], 0);
    while !layer.is_empty() && seen.len() < STATES_MAX {
        let mut next = Vec::new();
        for (world, path) in layer {
            for (who, act) in [0, 1].into_iter().flat_map(|who| ACTS.map(|act| (who, act))) {
                let mut after: World = world.clone();
                if !after.act(who, act) || !seen.insert(after.key()) {
                    continue;
                }
                let mut path: Vec<(usize, Act)> = path.clone();
                path.push((who, act));
                after.check(&path);
                most = most.max(after.processes.iter().map(|process| process.granted).sum());
                next.push((after, path));
            }
        }
        layer = next;
    }
    assert_eq!(most, MAX, "the whole allocation can be spent");
}
