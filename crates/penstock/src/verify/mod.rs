//! Compares what a source did with what a target applied, key by key.
//!
//! The source's side is a list of effects for each key in commit order (from an audit of the source's own, not from
//! Penstock); the target's side is the history of what it applied. Walking the second along the first finds:
//!
//! | found | means |
//! |---|---|
//! | lost | an effect of the source that the target never had |
//! | out of order | an effect that came after a later one of its key |
//! | repeated | an effect that came again after another one of its key: it appears twice, or an older value overwrote a newer |
//! | resent | the effect that the key already had, sent once more by the pipeline: harmless, but it cost a call |
//! | copied again | the same, but the source itself stated it twice (live, then in the first copy) |
//! | not applied | an effect that the target never had, and that the pipeline's books account for: dead-lettered or superseded |
//! | unknown | something that the source never did |
//!
//! The checker is itself tested with planted losses, swaps and repeats.

use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// One effect on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The row has this revision now. Revisions of a key ascend and never repeat.
    Revision(i64),
    Deleted,
}

/// An effect that the source had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    pub effect: Effect,
    /// It happened before capture began: the first copy may carry a later one in its place.
    pub before_capture: bool,
}

/// What was found, over all keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    pub keys: u64,
    /// Effects that the source had since capture began.
    pub effects: u64,
    pub lost: u64,
    pub out_of_order: u64,
    pub repeated_effects: u64,
    pub resent: u64,
    pub copied_again: u64,
    pub not_applied: u64,
    pub unknown: u64,
    /// The first few, in words.
    pub examples: Vec<String>,
}

const EXAMPLES_MAX: usize = 10;

impl Findings {
    /// True when every promise was kept; `resent` is a cost, not a breach.
    pub fn kept(&self) -> bool {
        self.lost == 0 && self.out_of_order == 0 && self.repeated_effects == 0 && self.unknown == 0
    }

    fn example(&mut self, key: &str, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(format!("{key}: {}", text()));
        }
    }
}

/// Key → effects in order.
pub type Effects = BTreeMap<String, Vec<Effect>>;

/// What the pipeline's books say of effects that the history alone would show as faults. Both may be empty.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    /// Effects that the source stated twice in a row.
    pub copied_again: Effects,
    /// Effects whose record was settled without being applied.
    pub not_applied: Effects,
}

/// Compares all keys.
pub fn compare(expected: &BTreeMap<String, Vec<Expected>>, applied: &Effects, accounts: &Accounts) -> Findings {
    let mut findings = Findings { keys: expected.len() as u64, ..Findings::default() };
    let none = Vec::new();
    for (key, effects) in expected {
        let accounts = KeyAccounts {
            copied_again: accounts.copied_again.get(key).cloned().unwrap_or_default(),
            not_applied: accounts.not_applied.get(key).cloned().unwrap_or_default(),
        };
        compare_key(key, effects, applied.get(key).unwrap_or(&none), accounts, &mut findings);
    }
    for (key, effects) in applied.iter().filter(|(key, _)| !expected.contains_key(*key)) {
        findings.unknown += effects.len() as u64;
        findings.example(key, || "the source never had this key".into());
    }
    findings
}

struct KeyAccounts {
    copied_again: Vec<Effect>,
    not_applied: Vec<Effect>,
}

/// Takes one occurrence out of a list; false when there is none.
fn take(list: &mut Vec<Effect>, effect: Effect) -> bool {
    let found = list.iter().position(|other| *other == effect);
    found.map(|at| list.swap_remove(at)).is_some()
}

/// How far one key's walk has come.
struct Walk<'a> {
    accounts: KeyAccounts,
    expected: &'a [Expected],
    /// Revision → its place in `expected`.
    places: HashMap<i64, usize>,
    seen: Vec<bool>,
    /// The place after the newest effect that was applied.
    next: usize,
    /// The target has a row for the key.
    present: bool,
    last: Option<Effect>,
}

fn compare_key(key: &str, expected: &[Expected], applied: &[Effect], accounts: KeyAccounts, findings: &mut Findings) {
    findings.effects += expected.iter().filter(|effect| !effect.before_capture).count() as u64;
    let revision = |(place, expected): (usize, &Expected)| match expected.effect {
        Effect::Revision(revision) => Some((revision, place)),
        Effect::Deleted => None,
    };
    let mut walk = Walk {
        accounts,
        expected,
        places: expected.iter().enumerate().filter_map(revision).collect(),
        seen: vec![false; expected.len()],
        next: 0,
        present: false,
        last: None,
    };
    for effect in applied {
        walk.step(key, *effect, findings);
    }
    walk.finish(key, findings);
}

impl Walk<'_> {
    fn step(&mut self, key: &str, effect: Effect, findings: &mut Findings) {
        if self.last == Some(effect) {
            let stated_twice = take(&mut self.accounts.copied_again, effect);
            *(if stated_twice { &mut findings.copied_again } else { &mut findings.resent }) += 1;
            return;
        }
        let Some(place) = self.place_of(effect) else {
            findings.unknown += 1;
            findings.example(key, || format!("{effect:?} is nothing that the source did"));
            return;
        };
        if self.seen[place] {
            findings.repeated_effects += 1;
            findings.example(key, || format!("{effect:?} was applied again after {:?}", self.last));
        } else if place < self.next {
            self.seen[place] = true;
            findings.out_of_order += 1;
            findings.example(key, || format!("{effect:?} was applied after {:?}", self.last));
        } else {
            self.seen[place] = true;
            self.next = place + 1;
        }
        self.present = effect != Effect::Deleted;
        self.last = Some(effect);
    }

    /// A delete stands at the next delete that was not seen; when there is none left, at the newest one.
    fn place_of(&self, effect: Effect) -> Option<usize> {
        match effect {
            Effect::Revision(revision) => self.places.get(&revision).copied(),
            Effect::Deleted => {
                let is_delete = |place: &usize| self.expected[*place].effect == Effect::Deleted;
                (self.next..self.expected.len()).find(is_delete).or_else(|| (0..self.next).rev().find(is_delete))
            }
        }
    }

    fn finish(mut self, key: &str, findings: &mut Findings) {
        let mut present = false;
        for (place, expected) in self.expected.iter().enumerate() {
            let seen = self.seen[place];
            // A delete of a row that the target never had leaves no trace there, and needs none.
            let needless = expected.effect == Effect::Deleted && !present;
            // What happened before capture began is carried by what came after it, unless nothing did.
            let carried = expected.before_capture && place + 1 < self.expected.len();
            if !seen && !needless && !carried && take(&mut self.accounts.not_applied, expected.effect) {
                findings.not_applied += 1;
            } else if !seen && !needless && !carried {
                findings.lost += 1;
                findings.example(key, || format!("{:?} was never applied", expected.effect));
            }
            if seen {
                present = expected.effect != Effect::Deleted;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Effect::{Deleted, Revision};
    use super::*;
    use proptest::prelude::*;

    fn one(expected: &[Effect], applied: &[Effect]) -> Findings {
        after_copy(0, expected, applied)
    }

    /// The first `copied` effects happened before capture began.
    fn after_copy(copied: usize, expected: &[Effect], applied: &[Effect]) -> Findings {
        let expected = expected
            .iter()
            .enumerate()
            .map(|(i, effect)| Expected { effect: *effect, before_capture: i < copied })
            .collect();
        let applied = BTreeMap::from([("k".into(), applied.to_vec())]);
        compare(&BTreeMap::from([("k".into(), expected)]), &applied, &Accounts::default())
    }

    fn counts(findings: &Findings) -> (u64, u64, u64, u64, u64) {
        (findings.lost, findings.out_of_order, findings.repeated_effects, findings.resent, findings.unknown)
    }

    #[test]
    fn a_faithful_history_has_no_finding() {
        let effects = [Revision(1), Revision(4), Deleted, Revision(9)];
        assert_eq!(counts(&one(&effects, &effects)), (0, 0, 0, 0, 0));
    }

    #[test]
    fn a_planted_loss_is_found() {
        assert_eq!(
            counts(&one(&[Revision(1), Revision(2), Revision(3)], &[Revision(1), Revision(3)])),
            (1, 0, 0, 0, 0)
        );
        assert_eq!(counts(&one(&[Revision(1), Revision(2)], &[Revision(1)])), (1, 0, 0, 0, 0));
        assert_eq!(counts(&one(&[Revision(1), Deleted], &[Revision(1)])), (1, 0, 0, 0, 0));
        assert_eq!(counts(&one(&[Revision(1)], &[])), (1, 0, 0, 0, 0));
    }

    #[test]
    fn a_planted_swap_is_found() {
        let swapped = one(&[Revision(1), Revision(2), Revision(3)], &[Revision(1), Revision(3), Revision(2)]);
        assert_eq!(counts(&swapped), (0, 1, 0, 0, 0));
        assert!(!swapped.kept());
    }

    #[test]
    fn a_planted_repeat_is_found_and_a_resend_is_told_apart() {
        let repeat = one(&[Revision(1), Revision(2)], &[Revision(1), Revision(2), Revision(1), Revision(2)]);
        assert_eq!(counts(&repeat), (0, 0, 2, 0, 0));
        let resent = one(&[Revision(1), Revision(2)], &[Revision(1), Revision(1), Revision(2), Revision(2)]);
        assert_eq!(counts(&resent), (0, 0, 0, 2, 0));
        assert!(resent.kept());
    }

    #[test]
    fn something_that_the_source_never_did_is_found() {
        assert_eq!(counts(&one(&[Revision(1)], &[Revision(1), Revision(7)])), (0, 0, 0, 0, 1));
        assert_eq!(counts(&one(&[Revision(1)], &[Revision(1), Deleted])), (0, 0, 0, 0, 1));
    }

    #[test]
    fn the_first_copy_may_skip_what_came_before_it_but_not_the_last() {
        let before = [Revision(1), Revision(2), Revision(3)];
        assert_eq!(counts(&after_copy(2, &before, &[Revision(2), Revision(3)])), (0, 0, 0, 0, 0));
        assert_eq!(counts(&after_copy(2, &before, &[Revision(3)])), (0, 0, 0, 0, 0));
        assert_eq!(counts(&after_copy(3, &before, &[Revision(2)])), (1, 0, 0, 0, 0));
        assert_eq!(counts(&after_copy(1, &[Revision(1)], &[])), (1, 0, 0, 0, 0));
    }

    #[test]
    fn a_delete_of_a_row_that_the_target_never_had_needs_no_trace() {
        assert_eq!(counts(&after_copy(1, &[Revision(1), Deleted], &[])), (0, 0, 0, 0, 0));
        assert_eq!(counts(&after_copy(2, &[Revision(1), Deleted, Revision(5)], &[Revision(5)])), (0, 0, 0, 0, 0));
    }

    #[test]
    fn what_the_books_account_for_is_told_apart_once_and_only_once() {
        let effects = [Revision(1), Revision(2), Revision(3)].map(|effect| Expected { effect, before_capture: false });
        let expected = BTreeMap::from([("k".into(), effects.to_vec())]);
        let accounts = Accounts {
            copied_again: BTreeMap::from([("k".into(), vec![Revision(1)])]),
            not_applied: BTreeMap::from([("k".into(), vec![Revision(2)])]),
        };
        let applied = BTreeMap::from([("k".into(), vec![Revision(1), Revision(1), Revision(1), Revision(3)])]);
        let found = compare(&expected, &applied, &accounts);
        assert_eq!((found.copied_again, found.resent, found.not_applied, found.lost), (1, 1, 1, 0));
        let applied = BTreeMap::from([("k".into(), vec![Revision(1)])]);
        let found = compare(&expected, &applied, &accounts);
        assert_eq!((found.not_applied, found.lost), (1, 1));
    }

    proptest! {
        /// Any history made by dropping, swapping or repeating one effect of a faithful one is told apart from it.
        #[test]
        fn any_single_planted_fault_is_found(length in 3usize..20, at in 0usize..17, fault in 0u8..3) {
            let effects: Vec<Effect> = (0..length as i64).map(Revision).collect();
            let at = at % (length - 2);
            let mut applied = effects.clone();
            match fault {
                0 => drop(applied.remove(at)),
                1 => applied.swap(at, at + 1),
                _ => applied.insert(at + 2, effects[at]),
            }
            prop_assert!(!one(&effects, &applied).kept());
        }
    }
}
