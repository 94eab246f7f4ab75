//! The window against its own definition: any schedule of calls, checked after each step.

use super::invariants::{self, Phase, View};
use super::*;
use model::{Fingerprint, OffsetRange};
use proptest::prelude::*;

const ROUTES: u16 = 3;

#[derive(Clone, Debug)]
enum Step {
    Push { gap: u64, route: u16, lane: usize, writes: Vec<u64>, reads: Vec<u64> },
    Skip { gap: u64, route: u16 },
    Take { route: u16, lane: usize, n: usize },
    Absorb { pick: usize, n: usize },
    Settle { pick: usize },
    Retry { pick: usize },
    Hold { pick: usize, until: u64 },
    Wake { now: u64 },
    Yield { pick: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let keys = || prop::collection::vec(0u64..6, 0..3);
    prop_oneof![
        6 => (0u64..3, 0..ROUTES, 0usize..3, keys(), keys())
            .prop_map(|(gap, route, lane, writes, reads)| Step::Push { gap, route, lane, writes, reads }),
        3 => (0u64..3, 0..ROUTES, 0usize..3, 0u64..3)
            .prop_map(|(gap, route, lane, key)| Step::Push { gap, route, lane, writes: vec![key], reads: vec![] }),
        1 => (0u64..3, 0..ROUTES).prop_map(|(gap, route)| Step::Skip { gap, route }),
        4 => (0..ROUTES, 0usize..3, 0usize..4).prop_map(|(route, lane, n)| Step::Take { route, lane, n }),
        2 => (any::<usize>(), 1usize..4).prop_map(|(pick, n)| Step::Absorb { pick, n }),
        5 => any::<usize>().prop_map(|pick| Step::Settle { pick }),
        1 => any::<usize>().prop_map(|pick| Step::Retry { pick }),
        1 => (any::<usize>(), 0u64..50).prop_map(|(pick, until)| Step::Hold { pick, until }),
        1 => (0u64..50).prop_map(|now| Step::Wake { now }),
        1 => any::<usize>().prop_map(|pick| Step::Yield { pick }),
    ]
}

/// The window beside a plain list of all that was ever pushed.
struct Pair {
    window: Window,
    views: Vec<View>,
    lanes: Vec<Lane>,
    ids: Vec<Option<EntryId>>,
    held_until: Vec<Duration>,
    /// The next offset at which each route may push.
    free_from: [u64; ROUTES as usize],
}

fn prints(keys: &[u64]) -> Vec<Fingerprint> {
    keys.iter().copied().map(Fingerprint).collect()
}

impl Pair {
    fn new() -> Self {
        Self {
            window: Window::new(ROUTES as usize, 1 << 20, Offset(10)),
            views: Vec::new(),
            lanes: Vec::new(),
            ids: Vec::new(),
            held_until: Vec::new(),
            free_from: [10; ROUTES as usize],
        }
    }

    fn next_offset(&mut self, gap: u64, route: u16) -> u64 {
        let offset = (self.window.cursor().0 + gap).max(self.free_from[route as usize]);
        self.free_from[route as usize] = offset + 1;
        offset
    }

    fn add(&mut self, view: View, lane: Lane, id: Option<EntryId>) {
        self.views.push(view);
        self.lanes.push(lane);
        self.ids.push(id);
        self.held_until.push(Duration::ZERO);
    }

    fn index_of(&self, id: EntryId) -> usize {
        self.ids.iter().position(|known| *known == Some(id)).expect("the window hands out what was pushed")
    }

    fn ready(&self, route: u16, lane: Lane) -> Vec<usize> {
        (0..self.views.len())
            .filter(|at| self.views[*at].route == route && self.lanes[*at] == lane)
            .filter(|at| self.views[*at].phase == Phase::Pending && invariants::blockers(&self.views, *at).is_empty())
            .collect()
    }

    fn pick(&self, pick: usize, which: impl Fn(&View) -> bool) -> Option<usize> {
        let found: Vec<usize> = (0..self.views.len()).filter(|at| which(&self.views[*at])).collect();
        (!found.is_empty()).then(|| found[pick % found.len()])
    }

    fn absorb(&mut self, pick: usize, n: usize) {
        let Some(leader) = self.pick(pick, |view| view.phase == Phase::InFlight) else { return };
        let mut expected = Vec::new();
        let mut last = leader;
        let mut after = self.views.clone();
        while expected.len() < n {
            let next =
                (last + 1..after.len()).find(|at| after[*at].is_unsettled() && touches_key_of(&after, last, *at));
            let Some(next) = next.filter(|next| invariants::may_follow(&after, last, *next)) else { break };
            after[next].phase = Phase::Absorbed { leader };
            expected.push(next);
            last = next;
        }
        let mut out = Vec::new();
        let id = self.ids[leader].expect("in flight");
        assert_eq!(self.window.absorb(id, n, &mut out), out.len());
        let got: Vec<usize> = out.iter().map(|taken| self.index_of(taken.id)).collect();
        assert_eq!(got, expected);
        self.views = after;
    }

    fn settle(&mut self, pick: usize) {
        let may_end = |view: &View| matches!(view.phase, Phase::InFlight | Phase::Held);
        let Some(at) = self.pick(pick, may_end) else { return };
        assert!(invariants::blockers(&self.views, at).is_empty());
        self.window.settle(self.ids[at].expect("pushed"));
        self.views[at].phase = Phase::Settled;
        self.promote_absorbed();
    }

    /// A follower whose predecessors are settled is in flight by itself.
    fn promote_absorbed(&mut self) {
        for at in 0..self.views.len() {
            if matches!(self.views[at].phase, Phase::Absorbed { .. })
                && invariants::blockers(&self.views, at).is_empty()
            {
                self.views[at].phase = Phase::InFlight;
                for later in at + 1..self.views.len() {
                    if let Phase::Absorbed { leader } = &mut self.views[later].phase
                        && self.ids[*leader].is_some()
                        && *leader < at
                    {
                        // The chain's new leader is the lowest that is left, when it was one chain.
                        if self.views[later].writes.first() == self.views[at].writes.first() {
                            self.views[later].phase = Phase::Absorbed { leader: at };
                        }
                    }
                }
            }
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Push { gap, route, lane, writes, reads } => {
                let (offset, lane) = (self.next_offset(gap, route), Lane::ALL[lane]);
                let (writes, reads) = (prints(&writes), prints(&reads));
                let entry = Entry { offset: Offset(offset), route, lane, writes: &writes, reads: &reads };
                let id = self.window.push(&entry).expect("1 MiB is enough");
                self.add(View { offset, route, writes, reads, phase: Phase::Pending }, lane, Some(id));
            }
            Step::Skip { gap, route } => {
                let offset = self.next_offset(gap, route);
                self.window.skip(route, Offset(offset));
                let view = View { offset, route, writes: vec![], reads: vec![], phase: Phase::Settled };
                self.add(view, Lane::Bulk, None);
            }
            Step::Take { route, lane, n } => {
                let lane = Lane::ALL[lane];
                let mut expected = self.ready(route, lane);
                expected.truncate(n);
                let mut out = Vec::new();
                assert_eq!(self.window.take(route, lane, n, &mut out), out.len());
                assert_eq!(out.iter().map(|taken| self.index_of(taken.id)).collect::<Vec<_>>(), expected);
                for at in expected {
                    self.views[at].phase = Phase::InFlight;
                }
            }
            Step::Absorb { pick, n } => self.absorb(pick, n),
            Step::Settle { pick } => self.settle(pick),
            Step::Retry { pick } => {
                let in_flight = |view: &View| matches!(view.phase, Phase::InFlight | Phase::Absorbed { .. });
                if let Some(at) = self.pick(pick, in_flight) {
                    // A chain is given back from some member on, never with a hole: what is behind it comes back as well.
                    let chain = self.views[at].phase;
                    let behind = |view: &View| matches!(chain, Phase::Absorbed { .. }) && view.phase == chain;
                    for member in
                        (at..self.views.len()).filter(|n| *n == at || behind(&self.views[*n])).collect::<Vec<_>>()
                    {
                        self.window.retry(self.ids[member].expect("pushed"));
                        self.views[member].phase = Phase::Pending;
                    }
                }
            }
            Step::Hold { pick, until } => {
                if let Some(at) = self.pick(pick, |view| view.phase == Phase::InFlight) {
                    self.held_until[at] = Duration::from_secs(until);
                    self.window.hold(self.ids[at].expect("pushed"), self.held_until[at]);
                    self.views[at].phase = Phase::Held;
                }
            }
            Step::Yield { pick } => {
                let in_flight = |view: &View| matches!(view.phase, Phase::InFlight | Phase::Absorbed { .. });
                if let Some(at) = self.pick(pick, in_flight) {
                    self.window.yield_reads(self.ids[at].expect("pushed"));
                    let written = self.views[at].writes.clone();
                    for key in self.views[at].reads.clone().into_iter().filter(|key| !written.contains(key)) {
                        let writer = |view: &View| view.is_unsettled() && view.writes.contains(&key);
                        let next = self.views.iter().position(writer).unwrap_or(self.views.len());
                        self.views[..next].iter_mut().for_each(|view| view.reads.retain(|read| *read != key));
                    }
                }
            }
            Step::Wake { now } => {
                let now = Duration::from_secs(now);
                let due = |at: &usize| self.views[*at].phase == Phase::Held && self.held_until[*at] <= now;
                let due: Vec<usize> = (0..self.views.len()).filter(due).collect();
                assert_eq!(self.window.wake(now), due.len());
                for at in due {
                    self.views[at].phase = Phase::Pending;
                }
            }
        }
    }

    fn check(&mut self) {
        assert!(invariants::no_two_in_flight_conflict(&self.views));
        assert!(invariants::the_lowest_unsettled_never_waits(&self.views));
        assert_eq!(self.window.unsettled(), self.views.iter().filter(|view| view.is_unsettled()).count());
        let cursor = self.window.cursor().0;
        for route in 0..ROUTES {
            for lane in Lane::ALL {
                let ready = self.ready(route, lane).len();
                let count = |which: &dyn Fn(Phase) -> bool| {
                    let of_lane = |at: &usize| self.views[*at].route == route && self.lanes[*at] == lane;
                    (0..self.views.len()).filter(of_lane).filter(|at| which(self.views[*at].phase)).count()
                };
                let expected = Counts {
                    waiting: count(&|phase| phase == Phase::Pending) - ready,
                    ready,
                    in_flight: count(&|phase| matches!(phase, Phase::InFlight | Phase::Absorbed { .. })),
                    held: count(&|phase| phase == Phase::Held),
                };
                assert_eq!(self.window.counts(route, lane), expected, "route {route} {lane}");
            }
            let checkpoint = invariants::checkpoint(&self.views, route, cursor);
            assert_eq!(self.window.checkpoint(route).0, checkpoint);
            self.check_settled_above(route, checkpoint);
        }
    }

    fn check_settled_above(&self, route: u16, checkpoint: u64) {
        let ranges = self.window.settled_above(route);
        assert!(ranges.windows(2).all(|pair| pair[0].to < pair[1].from), "{ranges:?}");
        for view in self.views.iter().filter(|view| view.route == route && view.offset >= checkpoint) {
            // The record at the cursor itself is not behind it yet.
            if view.offset >= self.window.cursor().0 {
                continue;
            }
            let inside = ranges.iter().any(|r: &OffsetRange| r.from.0 <= view.offset && view.offset < r.to.0);
            assert_eq!(inside, !view.is_unsettled(), "offset {} in {ranges:?}", view.offset);
        }
    }
}

/// True when `at` reads or writes the first key that `last` writes.
fn touches_key_of(views: &[View], last: usize, at: usize) -> bool {
    views[last].writes.first().is_some_and(|key| views[at].writes.contains(key) || views[at].reads.contains(key))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn window_agrees_with_the_naive_serial_model_after_any_schedule(steps in prop::collection::vec(step(), 1..60)) {
        let mut pair = Pair::new();
        for step in steps {
            pair.run(step);
            pair.check();
        }
        // Whatever the schedule left behind can be driven to the end: no deadlock.
        let mut out = Vec::new();
        pair.run(Step::Wake { now: 1000 });
        for at in 0..pair.views.len() {
            if let Phase::InFlight | Phase::Absorbed { .. } = pair.views[at].phase {
                pair.window.retry(pair.ids[at].expect("pushed"));
                pair.views[at].phase = Phase::Pending;
            }
        }
        while pair.window.unsettled() > 0 {
            let before = pair.window.unsettled();
            for route in 0..ROUTES {
                for lane in Lane::ALL {
                    pair.window.take(route, lane, usize::MAX, &mut out);
                }
            }
            for taken in out.drain(..) {
                let at = pair.index_of(taken.id);
                assert!(invariants::blockers(&pair.views, at).is_empty());
                pair.window.settle(taken.id);
                pair.views[at].phase = Phase::Settled;
            }
            prop_assert!(pair.window.unsettled() < before, "a window that is not empty moves");
            pair.check();
        }
    }
}

fn push(window: &mut Window, offset: u64, lane: Lane, writes: &[u64], reads: &[u64]) -> EntryId {
    try_push(window, offset, lane, writes, reads).expect("room")
}

fn try_push(window: &mut Window, offset: u64, lane: Lane, writes: &[u64], reads: &[u64]) -> Result<EntryId, PushError> {
    let (writes, reads) = (prints(writes), prints(reads));
    window.push(&Entry { offset: Offset(offset), route: 0, lane, writes: &writes, reads: &reads })
}

fn take_all(window: &mut Window, lane: Lane) -> Vec<EntryId> {
    let mut out = Vec::new();
    window.take(0, lane, usize::MAX, &mut out);
    out.into_iter().map(|taken| taken.id).collect()
}

#[test]
fn a_full_window_refuses_before_its_limit_and_takes_again_after_a_settle() {
    let bytes_max = 1 << 20;
    let mut window = Window::new(1, bytes_max, Offset(0));
    let mut offset = 0;
    while try_push(&mut window, offset, Lane::Bulk, &[offset], &[u64::MAX - offset % 7]).is_ok() {
        assert!(window.bytes() <= bytes_max);
        offset += 1;
    }
    assert!(offset > 20_000, "{offset}");
    assert_eq!(window.cursor(), Offset(offset - 1), "a refused push changes nothing");
    for id in take_all(&mut window, Lane::Bulk).into_iter().take(4096) {
        window.settle(id);
    }
    push(&mut window, offset, Lane::Bulk, &[offset], &[]);
    assert_eq!(window.checkpoint(0), Offset(4096));
}

#[test]
fn a_window_with_a_tiny_limit_still_takes_one_record_at_a_time() {
    let mut window = Window::new(1, 0, Offset(0));
    for offset in 0..5000 {
        let id = push(&mut window, offset, Lane::Standard, &[1], &[2]);
        assert!(matches!(try_push(&mut window, offset + 1, Lane::Standard, &[3], &[]), Err(PushError::Full { .. })));
        window.settle(id);
    }
}

#[test]
fn a_stuck_head_pins_one_chunk_while_millions_pass() {
    let mut window = Window::new(1, 4 << 20, Offset(0));
    let stuck = push(&mut window, 0, Lane::Bulk, &[0], &[]);
    assert_eq!(take_all(&mut window, Lane::Bulk), vec![stuck]);
    let mut peak = 0;
    for offset in 1..=200_000 {
        push(&mut window, offset, Lane::ALL[offset as usize % 3], &[offset], &[7]);
        if offset % 50 == 0 {
            for lane in Lane::ALL {
                take_all(&mut window, lane).into_iter().for_each(|id| window.settle(id));
            }
            peak = peak.max(window.bytes());
        }
    }
    assert!(peak < 1 << 20, "{peak}");
    assert_eq!(window.checkpoint(0), Offset(0));
    window.advance_to(Offset(200_001));
    assert_eq!(window.settled_above(0), vec![OffsetRange { from: Offset(1), to: Offset(200_001) }]);
    window.settle(stuck);
    assert_eq!(window.checkpoint(0), Offset(200_001));
    assert!(window.bytes() < 512 << 10, "{}", window.bytes());
}

#[test]
fn a_critical_record_behind_a_backlog_is_ready_at_once() {
    let mut window = Window::new(1, 64 << 20, Offset(0));
    for offset in 0..50_000 {
        push(&mut window, offset, Lane::Bulk, &[offset], &[]);
    }
    let critical = push(&mut window, 50_000, Lane::Critical, &[50_000], &[]);
    assert_eq!(take_all(&mut window, Lane::Critical), vec![critical]);
}

#[test]
fn a_parent_behind_its_child_goes_first_once_the_child_yields() {
    let (child_key, parent_key) = (1, 2);
    let mut window = Window::new(1, 1 << 20, Offset(0));
    let child = push(&mut window, 1, Lane::Standard, &[child_key], &[parent_key]);
    let parent = push(&mut window, 2, Lane::Standard, &[parent_key], &[]);
    let next_child = push(&mut window, 3, Lane::Standard, &[child_key], &[parent_key]);
    assert_eq!(take_all(&mut window, Lane::Standard), vec![child]);
    window.yield_reads(child);
    window.yield_reads(child);
    window.hold(child, Duration::from_secs(1));
    assert_eq!(take_all(&mut window, Lane::Standard), vec![parent]);
    window.settle(parent);
    assert_eq!(take_all(&mut window, Lane::Standard), vec![], "the child's own key stays in order");
    assert_eq!(window.wake(Duration::from_secs(1)), 1);
    assert_eq!(take_all(&mut window, Lane::Standard), vec![child]);
    window.settle(child);
    assert_eq!(take_all(&mut window, Lane::Standard), vec![next_child]);
}

#[test]
fn a_parent_does_not_wait_for_a_second_change_of_its_child_either() {
    let (child_key, parent_key) = (1, 2);
    let mut window = Window::new(1, 1 << 20, Offset(0));
    let first = push(&mut window, 1, Lane::Standard, &[child_key], &[parent_key]);
    let second = push(&mut window, 2, Lane::Standard, &[child_key], &[parent_key]);
    let parent = push(&mut window, 3, Lane::Standard, &[parent_key], &[]);
    assert_eq!(take_all(&mut window, Lane::Standard), vec![first]);
    window.yield_reads(first);
    window.hold(first, Duration::from_secs(1));
    assert_eq!(
        take_all(&mut window, Lane::Standard),
        vec![parent],
        "the second waits for the first, not the parent for it"
    );
    window.settle(parent);
    window.wake(Duration::from_secs(1));
    for entry in [first, second] {
        assert_eq!(take_all(&mut window, Lane::Standard), vec![entry]);
        window.settle(entry);
    }
    assert_eq!(window.unsettled(), 0);
}

#[test]
fn a_record_with_too_many_keys_is_refused_by_name() {
    let mut window = Window::new(1, 1 << 20, Offset(0));
    let keys: Vec<u64> = (0..300).collect();
    assert!(matches!(
        try_push(&mut window, 5, Lane::Bulk, &keys, &[]),
        Err(PushError::TooManyKeys { keys: 300, max: 251, .. })
    ));
    let same = vec![1; 300];
    assert!(try_push(&mut window, 5, Lane::Bulk, &same, &same).is_ok(), "repeats count once");
}

#[test]
#[should_panic(expected = "is settled already")]
fn settling_twice_panics_even_when_the_place_is_used_again() {
    let mut window = Window::new(1, 1 << 20, Offset(0));
    let first = push(&mut window, 0, Lane::Bulk, &[1], &[]);
    window.settle(first);
    push(&mut window, 1, Lane::Bulk, &[1], &[]);
    window.settle(first);
}

#[test]
#[should_panic(expected = "is settled before an earlier entry")]
fn settling_a_waiting_entry_panics() {
    let mut window = Window::new(1, 1 << 20, Offset(0));
    push(&mut window, 0, Lane::Bulk, &[1], &[]);
    let second = push(&mut window, 1, Lane::Bulk, &[1], &[]);
    window.settle(second);
}

#[test]
fn two_million_records_fit_in_64_mib() {
    // A tenth of the promise, so that the test stays quick without optimisation: bytes per record do not depend on size.
    let (records, bytes_max) = (200_000, (64 << 20) / 10);
    for parents in [1_000, 10_000] {
        let mut window = Window::new(1, bytes_max, Offset(0));
        for offset in 0..records {
            push(&mut window, offset, Lane::Bulk, &[offset], &[1 << 40 | (offset % parents)]);
        }
        assert!(window.bytes() <= bytes_max, "{}", window.bytes());
        for id in take_all(&mut window, Lane::Bulk).into_iter().rev() {
            window.settle(id);
        }
        assert!(window.bytes() < bytes_max / 20, "{} bytes stay when it is empty", window.bytes());
    }
}
