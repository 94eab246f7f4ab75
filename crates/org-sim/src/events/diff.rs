//! Unified diffs of long text, as change events carry them.
//!
//! ```text
//! ---
//! +++ <SHA-256 of the old text, hexadecimal>
//! @@ -3,4 +3,4 @@
//!  a line before
//! -an old line
//! +a new line
//!  a line after
//! ```
//! Lines are what stands between line feeds; a text of n line feeds has n + 1 lines.

use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// Characters from which a text may come as a diff.
pub const DIFF_CHARS_MIN: usize = 1000;

/// Unchanged lines around the changed ones.
const CONTEXT: usize = 3;

/// The diff from `old` to `new`; none when it would not be shorter than `new`, or `new` is short.
pub fn diff(old: &str, new: &str) -> Option<String> {
    if new.len() < DIFF_CHARS_MIN || new.chars().count() < DIFF_CHARS_MIN || old.is_empty() || old == new {
        return None;
    }
    let (before, after): (Vec<&str>, Vec<&str>) = (old.split('\n').collect(), new.split('\n').collect());
    let same = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
    let shorter = before.len().min(after.len()) - same;
    let same_end = before.iter().rev().zip(after.iter().rev()).take(shorter).take_while(|(a, b)| a == b).count();
    let start = same.saturating_sub(CONTEXT);
    let tail = same_end.min(CONTEXT);
    let (removed, added) = (&before[same..before.len() - same_end], &after[same..after.len() - same_end]);
    let lines = |changed: usize| same - start + changed + tail;
    let mut text = format!(
        "--- \n+++ {}\n@@ -{},{} +{},{} @@",
        sha256(old),
        start + 1,
        lines(removed.len()),
        start + 1,
        lines(added.len())
    );
    let context = |line| (' ', line);
    let parts = before[start..same].iter().map(context);
    let parts = parts.chain(removed.iter().map(|line| ('-', line))).chain(added.iter().map(|line| ('+', line)));
    for (sign, line) in parts.chain(after[after.len() - same_end..][..tail].iter().map(context)) {
        text.push('\n');
        text.push(sign);
        text.push_str(line);
    }
    (text.len() < new.len()).then_some(text)
}

/// SHA-256 of a text, hexadecimal.
pub fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Applies a diff to `old`; none when the diff is malformed or was made from another text.
pub fn apply(old: &str, diff: &str) -> Option<String> {
    let mut lines = diff.split('\n');
    if lines.next()? != "--- " || lines.next()?.strip_prefix("+++ ")? != sha256(old) {
        return None;
    }
    let ranges = lines.next()?.strip_prefix("@@ -")?.strip_suffix(" @@")?;
    let (start, rest) = ranges.split_once(',')?;
    let count: usize = rest.split_once(' ')?.0.parse().ok()?;
    let start = start.parse::<usize>().ok()?.checked_sub(1)?;
    let before: Vec<&str> = old.split('\n').collect();
    let replaced = start..start.checked_add(count)?;
    let mut hunk = Vec::new();
    for line in lines {
        match line.split_at_checked(1)? {
            ("-", _) => {}
            ("+" | " ", line) => hunk.push(line),
            _ => return None,
        }
    }
    let head = before.get(..replaced.start)?;
    let tail = before.get(replaced.end..)?;
    Some([head, &hunk, tail].concat().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hash_is_sha256_and_short_or_costly_diffs_are_not_made() {
        assert_eq!(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let long = "x".repeat(1000);
        assert_eq!(diff("old", &long), None);
        assert_eq!(diff(&long, "new"), None);
        assert_eq!(diff("", &format!("{long}\nnew")), None);
    }

    #[test]
    fn changed_line_comes_with_its_context() {
        let lines: Vec<String> = (0..200).map(|at| format!("line {at}")).collect();
        let old = lines.join("\n");
        let new = old.replace("line 100\n", "another line\n");
        let text = diff(&old, &new).unwrap();
        let expected = "@@ -98,7 +98,7 @@\n line 97\n line 98\n line 99\n-line 100\n+another line\n line 101\n line 102\n line 103";
        assert_eq!(text, format!("--- \n+++ {}\n{expected}", sha256(&old)));
        assert_eq!(apply(&old, &text).as_deref(), Some(&*new));
        assert_eq!(apply(&new, &text), None);
    }

    proptest! {
        #[test]
        fn diff_gives_the_new_text(lines in prop::collection::vec("[ab\n]{0,4}", 150..200), from in 0usize..150, cut in 0usize..20, put in prop::collection::vec("[ab]{0,4}", 0..4)) {
            let pad = "same ".repeat(30);
            let old: Vec<String> = lines.iter().map(|line| format!("{line}{pad}")).collect();
            let mut new = old.clone();
            new.splice(from..(from + cut).min(old.len()), put);
            let (old, new) = (old.join("\n"), new.join("\n"));
            match diff(&old, &new) {
                Some(diff) => prop_assert_eq!(apply(&old, &diff), Some(new)),
                None => prop_assert!(old == new),
            }
        }

        #[test]
        fn any_diff_is_applied_or_refused(body in "[-+ @,0-9a\n]{0,60}") {
            let _ = apply("a\nb", &body);
            let _ = apply("a\nb", &format!("--- \n+++ {}\n@@ -{body}", sha256("a\nb")));
        }
    }
}
