//! Dates and times as the org and the source write them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Parses a datetime with a zone (`Z`, `+0000`, `+00:00`) to Unix nanoseconds; none without a zone.
pub(crate) fn unix_nanos(text: &str) -> Option<i128> {
    let text = text.trim();
    let mut owned = text.to_owned();
    let at = text.len().checked_sub(5)?;
    let zone = text.get(at..)?;
    if zone.starts_with(['+', '-']) && zone[1..].bytes().all(|b| b.is_ascii_digit()) {
        owned.insert(at + 3, ':');
    }
    if owned.as_bytes().get(10) == Some(&b' ') {
        owned.replace_range(10..11, "T");
    }
    OffsetDateTime::parse(&owned, &Rfc3339).ok().map(OffsetDateTime::unix_timestamp_nanos)
}

/// Parses `hh:mm[:ss[.fraction]][Z]` to milliseconds of the day.
pub(crate) fn day_millis(text: &str) -> Option<u32> {
    let text = text.trim().trim_end_matches(['Z', 'z']);
    let mut parts = text.splitn(3, ':');
    let two = |part: &str| (part.len() == 2).then(|| part.parse::<u32>().ok()).flatten();
    let (hour, minute) = (two(parts.next()?)?, two(parts.next()?)?);
    let (second, millis) = match parts.next() {
        None => (0, 0),
        Some(rest) => {
            let (second, fraction) = rest.split_once('.').unwrap_or((rest, ""));
            if !fraction.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            let padded: String = fraction.chars().chain("000".chars()).take(3).collect();
            (two(second)?, padded.parse().ok()?)
        }
    };
    (hour < 24 && minute < 60 && second < 60).then_some(((hour * 60 + minute) * 60 + second) * 1000 + millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zones_are_one_instant() {
        let org = unix_nanos("2024-03-01T12:00:00.000+0000");
        assert!(org.is_some());
        assert_eq!(org, unix_nanos("2024-03-01T13:00:00+01:00"));
        assert_eq!(org, unix_nanos("2024-03-01 12:00:00Z"));
        assert_eq!(unix_nanos("2024-03-01T12:00:00"), None);
        assert_eq!(day_millis("10:15:30.5"), day_millis("10:15:30.500Z"));
        assert_eq!(day_millis("25:00:00"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,40}") {
            let _ = (unix_nanos(&text), day_millis(&text));
        }
    }
}
