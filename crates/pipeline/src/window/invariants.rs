//! The window's promises as pure predicates over a plain list: the definition that the window's structure must agree with.

use model::Fingerprint;

/// How far an entry is, as its owner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// In the window, not handed out.
    Pending,
    InFlight,
    /// In flight as a follower of the entry with this index.
    Absorbed {
        leader: usize,
    },
    Held,
    Settled,
}

/// An entry with everything that was said about it.
#[derive(Clone, Debug)]
pub struct View {
    pub offset: u64,
    pub route: u16,
    pub writes: Vec<Fingerprint>,
    pub reads: Vec<Fingerprint>,
    pub phase: Phase,
}

impl View {
    pub fn is_unsettled(&self) -> bool {
        self.phase != Phase::Settled
    }
}

/// True when one writes what the other writes or reads. Two readers of one key do not conflict.
pub fn conflict(a: &View, b: &View) -> bool {
    let touches = |view: &View, key| view.writes.contains(key) || view.reads.contains(key);
    a.writes.iter().any(|key| touches(b, key)) || b.writes.iter().any(|key| touches(a, key))
}

/// The earlier unsettled entries that conflict with entry `at`.
pub fn blockers(views: &[View], at: usize) -> Vec<usize> {
    (0..at).filter(|before| views[*before].is_unsettled() && conflict(&views[*before], &views[at])).collect()
}

/// Invariant 1. Entries of one absorbed chain conflict on purpose: they are applied as one row.
pub fn no_two_in_flight_conflict(views: &[View]) -> bool {
    let chain = |at: usize| match views[at].phase {
        Phase::InFlight => Some(at),
        Phase::Absorbed { leader } => Some(leader),
        _ => None,
    };
    let in_flight: Vec<(usize, usize)> = (0..views.len()).filter_map(|at| Some((at, chain(at)?))).collect();
    in_flight.iter().all(|(a, chain_a)| {
        in_flight.iter().all(|(b, chain_b)| a == b || chain_a == chain_b || !conflict(&views[*a], &views[*b]))
    })
}

/// Invariant 2: something can always be done about a window that is not empty.
pub fn the_lowest_unsettled_never_waits(views: &[View]) -> bool {
    views.iter().position(View::is_unsettled).is_none_or(|lowest| blockers(views, lowest).is_empty())
}

/// Invariant 4.
pub fn checkpoint(views: &[View], route: u16, cursor: u64) -> u64 {
    views.iter().find(|view| view.route == route && view.is_unsettled()).map_or(cursor, |view| view.offset)
}

/// True when entry `next` may be merged into a chain that ends with `last`: same route, one equal written key, and nothing
/// else in its way. (The near miss: a reader of the key between the two, which must see the value before `next`.)
pub fn may_follow(views: &[View], last: usize, next: usize) -> bool {
    let one_key = |at: usize| {
        let mut keys = views[at].writes.clone();
        keys.dedup();
        keys.len() == 1
    };
    views[next].phase == Phase::Pending
        && views[last].route == views[next].route
        && one_key(last)
        && one_key(next)
        && views[last].writes[0] == views[next].writes[0]
        && blockers(views, next).iter().all(|before| {
            // Earlier members of the chain write the same key and so block it as well, through `last`.
            *before == last || may_precede(views, *before, last)
        })
}

/// True when `before` is itself in the chain that `last` ends.
fn may_precede(views: &[View], before: usize, last: usize) -> bool {
    let chain = |at: usize| match views[at].phase {
        Phase::Absorbed { leader } => leader,
        _ => at,
    };
    views[before].phase != Phase::Pending && chain(before) == chain(last)
}
