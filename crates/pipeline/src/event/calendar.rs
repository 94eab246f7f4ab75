//! Days and times in the proleptic Gregorian calendar, over PostgreSQL's whole range (4713 BC to 294276 AD).
//!
//! The algorithms are Howard Hinnant's ("chrono-compatible low-level date algorithms"): exact over `i64` years.

/// Microseconds of a day.
pub const DAY_US: i64 = 86_400_000_000;

/// A day, counted from 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i64);

/// A point in time: a day and the microseconds in it, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    pub day: Day,
    /// `0..DAY_US`.
    pub us: i64,
}

impl Day {
    /// Makes a day of an astronomical year (0 is 1 BC), a month and a day of the month; `None` when there is no such
    /// day.
    pub fn of(year: i64, month: u32, day: u32) -> Option<Self> {
        if !(1..=12).contains(&month) || day < 1 || year.abs() > 10_000_000 {
            return None;
        }
        let shifted = if month <= 2 { year - 1 } else { year };
        let era = shifted.div_euclid(400);
        let year_of_era = shifted.rem_euclid(400);
        let month_from_march = i64::from((month + 9) % 12);
        let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let made = Self(era * 146_097 + day_of_era - 719_468);
        (made.civil() == (year, month, day)).then_some(made)
    }

    /// Returns the astronomical year, the month and the day of the month.
    pub fn civil(self) -> (i64, u32, u32) {
        let shifted = self.0.saturating_add(719_468);
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u32;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        (year, month, day)
    }
}

impl Moment {
    /// Makes a moment of a day and an offset in microseconds that may lie outside of that day.
    pub fn at(day: Day, us: i64) -> Self {
        Self { day: Day(day.0.saturating_add(us.div_euclid(DAY_US))), us: us.rem_euclid(DAY_US) }
    }

    /// Makes a moment of microseconds since the epoch.
    pub fn from_epoch_us(us: i64) -> Self {
        Self::at(Day(0), us)
    }
}

/// Parses `YYYY-MM-DD`, with more digits in the year and a trailing ` BC` or a leading sign as PostgreSQL and ISO 8601
/// write them.
pub fn parse_day(text: &str) -> Option<Day> {
    let (text, bc) = cut_era(text);
    parse_day_of_era(text, bc)
}

/// Parses a date, `T` or a blank, a time, an optional zone and an optional ` BC`. Without a zone the time is taken as
/// UTC.
pub fn parse_moment(text: &str) -> Option<Moment> {
    let (text, bc) = cut_era(text);
    let split = text.find(['T', ' '])?;
    let day = parse_day_of_era(&text[..split], bc)?;
    let (us, zone_s) = parse_time(&text[split + 1..])?;
    Some(Moment::at(day, us - zone_s.unwrap_or(0) * 1_000_000))
}

/// Parses `hh:mm[:ss[.ffffff]]` with an optional zone; returns the microseconds and the zone's seconds east of UTC.
/// `24:00:00` is one whole day, as in PostgreSQL.
pub fn parse_time(text: &str) -> Option<(i64, Option<i64>)> {
    let zone_at = text.find(['Z', 'z', '+', '-']).unwrap_or(text.len());
    let (clock, zone) = text.split_at(zone_at);
    let mut parts = clock.trim_end().split(':');
    let hour = digits(parts.next()?, 2)?;
    let minute = digits(parts.next()?, 2)?;
    let (second, fraction) = match parts.next() {
        None => (0, 0),
        Some(seconds) => match seconds.split_once('.') {
            None => (digits(seconds, 2)?, 0),
            Some((whole, fraction)) => (digits(whole, 2)?, parse_fraction(fraction)?),
        },
    };
    if parts.next().is_some() || minute > 59 || second > 60 {
        return None;
    }
    let us = ((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction;
    let zone = if zone.is_empty() { None } else { Some(parse_zone(zone)?) };
    (us <= DAY_US).then_some((us, zone))
}

/// Parses `Z`, `+hh`, `+hhmm`, `+hh:mm` or `+hh:mm:ss` to seconds east of UTC.
fn parse_zone(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let compact: String = text[1..].chars().filter(|c| *c != ':').collect();
    if !compact.bytes().all(|b| b.is_ascii_digit()) || ![2, 4, 6].contains(&compact.len()) {
        return None;
    }
    let part = |at: usize| compact.get(at..at + 2).map_or(Some(0), |two| two.parse::<i64>().ok());
    Some(sign * (part(0)? * 3_600 + part(2)? * 60 + part(4)?))
}

fn parse_fraction(text: &str) -> Option<i64> {
    if text.is_empty() || text.len() > 9 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let micros = text.bytes().chain(std::iter::repeat(b'0')).take(6);
    Some(micros.fold(0, |value, digit| value * 10 + i64::from(digit - b'0')))
}

fn cut_era(text: &str) -> (&str, bool) {
    match text.strip_suffix(" BC") {
        Some(rest) => (rest, true),
        None => (text, false),
    }
}

fn parse_day_of_era(text: &str, bc: bool) -> Option<Day> {
    let (negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let mut parts = rest.split('-');
    let year_text = parts.next()?;
    if year_text.len() < 4 || year_text.len() > 7 {
        return None;
    }
    let year = digits(year_text, year_text.len())?;
    let month = digits(parts.next()?, 2)?;
    let day = digits(parts.next()?, 2)?;
    if parts.next().is_some() || (bc && negative) {
        return None;
    }
    let year = if bc {
        1 - year
    } else if negative {
        -year
    } else {
        year
    };
    Day::of(year, month as u32, day as u32)
}

/// Reads exactly `count` ASCII digits.
fn digits(text: &str, count: usize) -> Option<i64> {
    if text.len() != count || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_days_have_their_numbers() {
        assert_eq!(Day::of(1970, 1, 1), Some(Day(0)));
        assert_eq!(Day::of(2000, 3, 1), Some(Day(11_017)));
        assert_eq!(Day::of(1969, 12, 31), Some(Day(-1)));
        assert_eq!(Day::of(1900, 2, 29), None);
        assert_eq!(Day::of(2000, 2, 29).map(Day::civil), Some((2000, 2, 29)));
        assert_eq!(Day::of(2024, 13, 1), None);
        assert_eq!(parse_day("0044-03-15 BC").map(Day::civil), Some((-43, 3, 15)));
        assert_eq!(parse_day("-0043-03-15").map(Day::civil), Some((-43, 3, 15)));
        assert_eq!(parse_day("294276-12-31").map(Day::civil), Some((294_276, 12, 31)));
    }

    #[test]
    fn moments_parse_in_every_zone_form() {
        let utc = parse_moment("2024-02-29T12:34:56.789Z").unwrap();
        for text in [
            "2024-02-29 12:34:56.789",
            "2024-02-29 13:34:56.789+01",
            "2024-02-29T18:04:56.789000+05:30",
            "2024-02-29T07:34:56.789-0500",
            "2024-03-01T00:34:56.789+12:00:00",
        ] {
            assert_eq!(parse_moment(text), Some(utc), "{text}");
        }
        for text in [
            "",
            "2024-02-29",
            "2024-02-30T00:00:00",
            "2024-02-29T25:00",
            "2024-02-29T1:00:00",
            "x",
            "2024-02-29T00:00:00+1",
        ] {
            assert_eq!(parse_moment(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn days_go_to_the_calendar_and_back(number in -2_500_000_i64..110_000_000) {
            let (year, month, day) = Day(number).civil();
            prop_assert_eq!(Day::of(year, month, day), Some(Day(number)));
        }

        #[test]
        fn any_text_is_parsed_without_a_panic(text in ".{0,30}", close in "[0-9TZ:+. B-]{0,30}") {
            for text in [text, close] {
                let _ = (parse_day(&text), parse_moment(&text), parse_time(&text));
            }
        }
    }
}
