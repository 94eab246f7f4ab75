//! Random runs of one to three processes that share a ledger, beside the plain truth: every spending with its time.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap as Map;

const ROUTE: &str = "requests";
/// Calls a day, batches a day, events an hour.
const MAXIMA: [u64; 3] = [400, 60, 300];
const NAMES: [&str; 3] = [API_REQUESTS, BULK_BATCHES, EVENTS_PUBLISHED];
const SPANS_MS: [i64; 3] = [SPAN_MS, SPAN_MS, HOUR_MS];

type Amounts = [u64; 3];

#[derive(Clone, Debug)]
enum Step {
    Pass {
        ms: i64,
    },
    ClockBack {
        ms: i64,
    },
    WallBack {
        ms: i64,
    },
    Ask {
        lane: usize,
        cost: (u32, u32, u32),
        left_s: Option<u64>,
        background: bool,
    },
    Finish {
        pick: usize,
        part: f64,
    },
    Lose {
        pick: usize,
    },
    Foreign {
        amounts: (u64, u64, u64),
    },
    Read {
        max: Option<u64>,
        seen_in_flight: bool,
        lag_ms: i64,
    },
    Hold {
        s: u64,
    },
    /// Reads the ledger and makes an entry.
    Begin,
    /// The entry reaches the store, or is refused by it.
    Write {
        known: bool,
    },
    /// An entry of which nobody knows reaches the store late.
    Late {
        pick: usize,
    },
    Crash,
}

fn step() -> impl Strategy<Value = (usize, Step)> {
    let step = prop_oneof![
        4 => (0i64..4 * HOUR_MS).prop_map(|ms| Step::Pass { ms }),
        3 => (0i64..90_000).prop_map(|ms| Step::Pass { ms }),
        1 => (SPAN_MS - HOUR_MS..SPAN_MS + 2 * HOUR_MS).prop_map(|ms| Step::Pass { ms }),
        1 => (0i64..2 * SPAN_MS).prop_map(|ms| Step::ClockBack { ms }),
        1 => (0i64..2 * SPAN_MS).prop_map(|ms| Step::WallBack { ms }),
        12 => (0usize..3, (0u32..40, 0u32..4, 0u32..40), prop::option::of(0u64..5000), any::<bool>())
            .prop_map(|(lane, cost, left_s, background)| Step::Ask { lane, cost, left_s, background }),
        5 => (any::<usize>(), 0.0..1.0).prop_map(|(pick, part)| Step::Finish { pick, part }),
        1 => any::<usize>().prop_map(|pick| Step::Lose { pick }),
        1 => (0u64..60, 0u64..5, 0u64..50).prop_map(|amounts| Step::Foreign { amounts }),
        3 => (prop::option::weighted(0.2, 100u64..500), any::<bool>(), 0i64..300_000)
            .prop_map(|(max, seen_in_flight, lag_ms)| Step::Read { max, seen_in_flight, lag_ms }),
        1 => (0u64..7200).prop_map(|s| Step::Hold { s }),
        6 => Just(Step::Begin),
        6 => prop::bool::weighted(0.9).prop_map(|known| Step::Write { known }),
        1 => any::<usize>().prop_map(|pick| Step::Late { pick }),
        2 => Just(Step::Crash),
    ];
    (0usize..3, step)
}

/// An entry on its way: the version that it expects, and its bytes.
type OnItsWay = (u64, Vec<u8>);

struct Process {
    governor: Governor,
    pending: Option<OnItsWay>,
    lost: Vec<OnItsWay>,
    /// `(when, amounts)`; while in flight: as granted.
    own: Vec<(i64, Amounts)>,
    out: Vec<(usize, Permit)>,
    glitch_ms: i64,
}

struct World {
    config: GovernorConfig,
    processes: Vec<Process>,
    version: u64,
    entries: Map<String, Vec<u8>>,
    true_ms: i64,
    /// The wall clock is behind the truth by this much.
    wall_behind_ms: i64,
    foreign: Vec<(i64, Amounts)>,
    max_calls: u64,
}

fn amounts(cost: Spend) -> Amounts {
    [u64::from(cost.calls), u64::from(cost.bulk_batches), u64::from(cost.events)]
}

fn in_span<'a>(spending: impl IntoIterator<Item = &'a (i64, Amounts)>, now_ms: i64) -> Amounts {
    let mut sums = [0; 3];
    for (at_ms, amounts) in spending {
        for (row, sum) in sums.iter_mut().enumerate() {
            if *at_ms <= now_ms && *at_ms > now_ms - SPANS_MS[row] {
                *sum += amounts[row];
            }
        }
    }
    sums
}

impl World {
    fn new(processes: usize, share: u16) -> Self {
        let mut allocations = AllocationSpec::all();
        allocations.truncate(3);
        allocations.iter_mut().zip(MAXIMA).for_each(|(row, max)| row.assumed_max = max);
        let config = GovernorConfig {
            allocations,
            share: Permille(share),
            ahead: 60,
            in_flight_max: 50,
            ..GovernorConfig::default()
        };
        let process = |_| Process {
            governor: Governor::new(config.clone(), at(0)).expect("valid"),
            pending: None,
            lost: Vec::new(),
            own: Vec::new(),
            out: Vec::new(),
            glitch_ms: 0,
        };
        Self {
            processes: (0..processes).map(process).collect(),
            config,
            version: 0,
            entries: Map::new(),
            true_ms: 0,
            wall_behind_ms: 0,
            foreign: Vec::new(),
            max_calls: MAXIMA[0],
        }
    }

    fn now(&mut self, who: usize) -> Now {
        let glitch_ms = std::mem::take(&mut self.processes[who].glitch_ms);
        let monotonic = (self.true_ms - glitch_ms).max(0);
        let unix_ms = 1_700_000_000_000 + self.true_ms - self.wall_behind_ms;
        Now { monotonic: Duration::from_millis(monotonic as u64), unix_ms }
    }

    fn alone(&self) -> bool {
        self.processes.len() == 1
    }

    fn ask(&mut self, who: usize, ask: &Ask<'_>) {
        let now = self.now(who);
        let before = self.processes[who].governor.status(now);
        let process = &mut self.processes[who];
        match process.governor.request(ask, now) {
            Decision::Refused(refusal) => assert!(refusal.retry_after > Duration::ZERO),
            Decision::Granted(permit) => {
                process.own.push((self.true_ms, amounts(ask.cost)));
                process.out.push((process.own.len() - 1, permit));
                self.check(who, ask, &before, now);
            }
        }
    }

    fn check(&mut self, who: usize, ask: &Ask<'_>, before: &Status, now: Now) {
        let after = self.processes[who].governor.status(now);
        let own = in_span(&self.processes[who].own, self.true_ms);
        let all = in_span(self.processes.iter().flat_map(|process| &process.own), self.true_ms);
        for (row, (before, after)) in before.allocations.iter().zip(&after.allocations).enumerate() {
            if amounts(ask.cost)[row] == 0 {
                continue;
            }
            let name = NAMES[row];
            assert!(own[row] <= after.budget, "invariant 1, {name}: {} of {}", own[row], after.budget);
            assert!(
                after.spent >= own[row],
                "{name}: the ledger knows at least the truth: {} {}",
                after.spent,
                own[row]
            );
            let siblings: u64 = after.siblings.iter().map(|sibling| sibling.spent).sum();
            assert!(after.spent + siblings + after.spent_by_others <= after.max, "invariant 2 as known, {name}");
            // Processes may know different maxima when it changes.
            let max = if row == 0 { u64::MAX } else { MAXIMA[row] };
            assert!(all[row] <= max, "invariant 2 in truth, {name}: {} of {max}", all[row]);
            if row == 0 && self.max_calls == u64::MAX {
                continue;
            }
            assert!(row > 0 || all[0] <= self.max_calls, "invariant 2 in truth: {} of {}", all[0], self.max_calls);
            for higher in before.lanes.iter().filter(|other| other.lane < ask.lane && other.has_work) {
                let unspent = higher.reserved.saturating_sub(higher.spent);
                let kept = after.left >= unspent.min(before.left);
                assert!(kept, "invariant 3, {name}: {} took what is {}'s", ask.lane, higher.lane);
            }
        }
    }

    fn begin(&mut self, who: usize) {
        let now = self.now(who);
        let member = who.to_string();
        let others = self.entries.iter().filter(|(name, _)| **name != member);
        let peers: Vec<Peer> = others
            .map(|(name, bytes)| Peer { member: name.clone(), entry: Snapshot::from_bytes(bytes).expect("own bytes") })
            .collect();
        if let Some(earlier) = self.processes[who].pending.take() {
            self.processes[who].lost.push(earlier);
        }
        let entry = self.processes[who].governor.entry(&peers, now);
        self.processes[who].pending = Some((self.version, entry.to_bytes()));
    }

    fn reach(&mut self, who: usize, (expected, bytes): OnItsWay) -> bool {
        let stands = expected == self.version;
        if stands {
            self.version += 1;
            self.entries.insert(who.to_string(), bytes);
        }
        stands
    }

    fn write(&mut self, who: usize, known: bool) {
        let Some(entry) = self.processes[who].pending.take() else { return };
        if !known {
            self.processes[who].lost.push(entry);
            self.processes[who].governor.stored(Stored::Unknown);
            return;
        }
        let what = if self.reach(who, entry) { Stored::Yes } else { Stored::Refused };
        self.processes[who].governor.stored(what);
    }

    fn crash(&mut self, who: usize) {
        let now = self.now(who);
        let stored = self.entries.get(&who.to_string()).map(|bytes| Snapshot::from_bytes(bytes).expect("own bytes"));
        let governor = match &stored {
            Some(stored) => Governor::restore(self.config.clone(), stored, now),
            None => Governor::new(self.config.clone(), now),
        };
        let process = &mut self.processes[who];
        process.governor = governor.expect("valid");
        process.out.clear();
        // A write that was handed over may still arrive; a new process reads after the old one's connection is gone.
        process.pending = None;
        process.lost.clear();
    }

    fn read(&mut self, who: usize, max: Option<u64>, seen_in_flight: bool, lag_ms: i64) {
        if let Some(max) = max.filter(|_| self.alone()) {
            // Whoever spent more under a larger maximum is not blamed.
            self.max_calls = u64::MAX;
            return self.read_with(who, [max, MAXIMA[1], MAXIMA[2]], seen_in_flight, lag_ms);
        }
        let now = self.now(who);
        let known = self.processes[who].governor.status(now).allocations[0].max;
        self.read_with(who, [known, MAXIMA[1], MAXIMA[2]], seen_in_flight, lag_ms);
    }

    fn read_with(&mut self, who: usize, maxima: Amounts, seen_in_flight: bool, lag_ms: i64) {
        let then_ms = self.true_ms - lag_ms;
        let mut hidden = [0; 3];
        for process in self.processes.iter().filter(|_| !seen_in_flight) {
            let out = process.out.iter().map(|(index, _)| &process.own[*index]);
            let unseen = in_span(out, then_ms);
            (0..3).for_each(|row| hidden[row] += unseen[row]);
        }
        let seen = in_span(self.processes.iter().flat_map(|process| &process.own).chain(&self.foreign), then_ms);
        let now = self.now(who);
        for row in 0..3 {
            let governor = &mut self.processes[who].governor;
            let before = governor.status(now).allocations[row].clone();
            let told = AllocationReading {
                allocation: NAMES[row].into(),
                max: maxima[row],
                used: seen[row] - hidden[row],
                at_ms: now.unix_ms,
            };
            governor.observe(&told, now);
            let after = &governor.status(now).allocations[row];
            let certain = |row: &AllocationStatus| row.spent - row.in_doubt;
            assert_eq!(certain(after), certain(&before), "invariant 5");
            let own = in_span(&self.processes[who].own, self.true_ms)[row];
            assert!(after.spent >= own, "{}: a reading refuted the truth: {} {own}", NAMES[row], after.spent);
        }
    }

    fn run(&mut self, who: usize, step: Step) {
        let who = who % self.processes.len();
        let now = self.now(who);
        match step {
            Step::Pass { ms } => self.true_ms += ms,
            Step::ClockBack { ms } => {
                self.processes[who].glitch_ms = ms;
                let now = self.now(who);
                self.processes[who].governor.status(now);
            }
            // Put forward between an entry and a look at it, nobody could tell; so it only changes where one process runs, and
            // that one stores an entry afterwards.
            Step::WallBack { ms } if self.alone() => {
                self.wall_behind_ms = ms;
                self.begin(who);
                self.write(who, true);
            }
            Step::WallBack { .. } => {}
            Step::Ask { lane, cost: (calls, bulk_batches, events), left_s, background } => {
                let route = ROUTE.into();
                let cost = Spend { calls, bulk_batches, events };
                let ask = Ask::new(Lane::ALL[lane], &route, cost, left_s.map(Duration::from_secs));
                self.ask(who, &Ask { background, ..ask });
            }
            Step::Finish { pick, part } if !self.processes[who].out.is_empty() => {
                let process = &mut self.processes[who];
                let (index, permit) = process.out.swap_remove(pick % process.out.len());
                let used = |asked: u32| (f64::from(asked) * part).round() as u32;
                let Spend { calls, bulk_batches, events } = permit.cost;
                let spent = Spend { calls: used(calls), bulk_batches: used(bulk_batches), events: used(events) };
                process.own[index].1 = amounts(spent);
                process.governor.finish(permit, spent, now);
            }
            Step::Lose { pick } if !self.processes[who].out.is_empty() => {
                let process = &mut self.processes[who];
                let (index, permit) = process.out.swap_remove(pick % process.out.len());
                // Half of them never reached the org.
                if pick % 2 == 0 {
                    process.own[index].1 = [0; 3];
                }
                process.governor.lose(permit, now);
            }
            Step::Finish { .. } | Step::Lose { .. } => {}
            Step::Foreign { amounts: (calls, batches, events) } => {
                self.foreign.push((self.true_ms, [calls, batches, events]));
            }
            Step::Read { max, seen_in_flight, lag_ms } => self.read(who, max, seen_in_flight, lag_ms),
            Step::Hold { s } => {
                self.processes[who].governor.hold(Limit::Allocation(NAMES[1]), Duration::from_secs(s), now);
            }
            Step::Begin => self.begin(who),
            Step::Write { known } => self.write(who, known),
            Step::Late { pick } => {
                let process = &mut self.processes[who];
                if !process.lost.is_empty() {
                    let late = process.lost.swap_remove(pick % process.lost.len());
                    self.reach(who, late);
                }
            }
            Step::Crash => self.crash(who),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_allocation_is_ever_exceeded_by_any_number_of_processes(
        processes in 1usize..=3,
        share in 300u16..=1000,
        steps in prop::collection::vec(step(), 1..160),
    ) {
        let mut world = World::new(processes, share);
        for who in 0..processes {
            world.begin(who);
            world.write(who, true);
        }
        for (who, step) in steps {
            world.run(who, step);
        }
    }

    #[test]
    fn any_stored_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Snapshot::from_bytes(&bytes);
    }

    #[test]
    fn any_stored_figures_are_taken_up_or_refused(
        at_ms: i64, unix_ms: i64, lease_until_ms: i64, start_ms: i64, bucket_ms: i64, spent: [u64; 3], lease: u64, held: i64,
    ) {
        let entry = Snapshot {
            version: 2, at_ms, unix_ms, ahead: 0, lease_until_ms,
            rows: vec![SnapshotRow {
                name: API_REQUESTS.into(), max: lease, bucket_ms,
                buckets: vec![SnapshotBucket { start_ms, spent }], doubt: vec![(start_ms, lease)], lease, unsent: lease,
                foreign: lease, held_until_ms: Some(held), reading: Some((lease, lease, at_ms)), lanes: None,
                routes: Map::new(),
            }],
            held_until_ms: Some(held), long_calls_held_until_ms: Some(held),
        };
        if let Ok(entry) = Snapshot::from_bytes(&entry.to_bytes()) {
            let mut governor = Governor::restore(config(), &entry, at(0)).expect("valid");
            governor.entry(&[Peer { member: "other".into(), entry }], at(1));
            governor.status(at(2));
        }
    }
}
