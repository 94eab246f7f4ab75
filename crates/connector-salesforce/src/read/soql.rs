//! SOQL text: literals, the encoding of a query into a URI, and splitting a long `IN` list.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt::Write;
use std::ops::Range;

/// Bytes of a query's path and encoded text. Salesforce refuses a URI and headers of 16,384 bytes together (414, 431;
/// Limits and Allocations Quick Reference, "API Request Limits"); this leaves room for the host, the token (up to 2 KB
/// where it is a JWT) and what proxies add.
pub(crate) const URI_BYTES_MAX: usize = 12_000;

/// What may stand in a query component as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'(')
    .remove(b')')
    .remove(b',')
    .remove(b'=');

/// Writes a quoted string literal.
///
/// Source: SOQL and SOSL Reference, "Quoted String Escape Sequences".
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    for c in text.chars() {
        match c {
            '\'' => out.push_str("\\'"),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// Encodes text for a query component; a space becomes `+`.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    for (at, part) in text.split(' ').enumerate() {
        if at > 0 {
            out.push('+');
        }
        let _never_fails = write!(out, "{}", utf8_percent_encode(part, PLAIN));
    }
    out
}

/// Splits encoded literals into runs whose sum, with a comma each, stays within `bytes_max`; a literal that is longer by
/// itself makes a run of its own.
pub(crate) fn runs(literals: &[String], bytes_max: usize) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, literal) in literals.iter().enumerate() {
        let cost = literal.len() + 1;
        if at > start && bytes + cost > bytes_max {
            runs.push(start..at);
            (start, bytes) = (at, 0);
        }
        bytes += cost;
    }
    if start < literals.len() {
        runs.push(start..literals.len());
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_hostile_key_stays_inside_its_quotes() {
        assert_eq!(quoted(r"a' OR Name != '\"), r"'a\' OR Name != \'\\'");
        assert_eq!(encoded("a = 'b+c&d'"), "a+=+%27b%2Bc%26d%27");
    }

    proptest! {
        #[test]
        fn encoding_is_undone_by_form_decoding(text in "\\PC{0,60}") {
            let spaced = encoded(&text).replace('+', " ");
            let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8().unwrap();
            prop_assert_eq!(decoded.as_ref(), text.as_str());
        }

        #[test]
        fn runs_cover_everything_once_and_stay_within_the_bound(lengths in prop::collection::vec(0usize..300, 0..80), max in 1usize..600) {
            let literals: Vec<String> = lengths.iter().map(|n| "x".repeat(*n)).collect();
            let runs = runs(&literals, max);
            prop_assert_eq!(runs.iter().cloned().flatten().collect::<Vec<_>>(), (0..literals.len()).collect::<Vec<_>>());
            for run in runs {
                let bytes: usize = literals[run.clone()].iter().map(|l| l.len() + 1).sum();
                prop_assert!(bytes <= max || run.len() == 1);
            }
        }
    }
}
