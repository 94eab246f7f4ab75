//! PostgreSQL's ISO dates and times to numbers and back: proleptic Gregorian, as PostgreSQL and ISO 8601 count.

const US_PER_SECOND: i64 = 1_000_000;
pub(super) const US_PER_DAY: i64 = 86_400 * US_PER_SECOND;

/// A day; `year` is astronomical (1 BC is 0, 2 BC is -1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Day {
    pub(super) year: i64,
    pub(super) month: u8,
    pub(super) day: u8,
}

impl Day {
    /// Days since 1970-01-01.
    ///
    /// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
    pub(super) fn days_since_epoch(self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month = (i64::from(self.month) + 9) % 12;
        let day_of_year = (153 * month + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * 146_097 + day_of_era - 719_468
    }

    /// The day so many days after 1970-01-01 (`civil_from_days` of the same source).
    pub(super) fn from_days_since_epoch(days: i64) -> Self {
        let days = days + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = (day_of_year - (153 * month + 2) / 5 + 1) as u8;
        let month = if month < 10 { month + 3 } else { month - 9 } as u8;
        Self { year: year_of_era + era * 400 + i64::from(month <= 2), month, day }
    }
}

/// A time of day with the text of its fraction (without the point, at most 6 digits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeOfDay<'a> {
    /// The `HH:MM:SS` as printed.
    pub(super) clock: &'a [u8],
    pub(super) fraction: &'a [u8],
    pub(super) us: i64,
}

/// Reads from the front; `None` when the text is not of that form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a>(pub(super) &'a [u8]);

impl<'a> Text<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn eat(&mut self, expected: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[expected])?;
        Some(())
    }

    fn take_digits(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(self.0.len());
        let (digits, rest) = self.0.split_at(end);
        self.0 = rest;
        digits
    }

    /// Two digits, at most `max`.
    fn pair(&mut self, max: u8) -> Option<u8> {
        let ([tens, ones], rest) = self.0.split_first_chunk::<2>()?;
        if !tens.is_ascii_digit() || !ones.is_ascii_digit() {
            return None;
        }
        let value = (tens - b'0') * 10 + (ones - b'0');
        self.0 = rest;
        (value <= max).then_some(value)
    }

    /// `YYYY-MM-DD` with 4 to 7 year digits, before its era is known.
    pub(super) fn day(&mut self) -> Option<Day> {
        let digits = self.take_digits();
        if !(4..=7).contains(&digits.len()) {
            return None;
        }
        let year = number(digits);
        self.eat(b'-')?;
        let month = self.pair(12).filter(|month| *month > 0)?;
        self.eat(b'-')?;
        let day = self.pair(31).filter(|day| *day > 0)?;
        Some(Day { year, month, day })
    }

    /// Takes ` BC` at the end, if it is there, and puts the year right.
    pub(super) fn era(&mut self, mut day: Day) -> Option<Day> {
        if self.0 == b" BC" {
            self.0 = b"";
            day.year = 1 - day.year;
        }
        self.is_empty().then_some(day)
    }

    /// `HH:MM:SS[.ffffff]`.
    pub(super) fn time_of_day(&mut self) -> Option<TimeOfDay<'a>> {
        let clock = self.0.get(..8)?;
        let hours = self.pair(24)?;
        self.eat(b':')?;
        let minutes = self.pair(59)?;
        self.eat(b':')?;
        let seconds = self.pair(60)?;
        let fraction = if self.eat(b'.').is_some() { self.take_digits() } else { &[] };
        if fraction.len() > 6 {
            return None;
        }
        let whole = i64::from(hours) * 3600 + i64::from(minutes) * 60 + i64::from(seconds);
        Some(TimeOfDay { clock, fraction, us: whole * US_PER_SECOND + fraction_us(fraction) })
    }

    /// `+HH[:MM[:SS]]` in seconds east of UTC.
    pub(super) fn offset(&mut self) -> Option<i64> {
        let sign = if self.eat(b'+').is_some() {
            1
        } else {
            self.eat(b'-')?;
            -1
        };
        let mut seconds = i64::from(self.pair(99)?) * 3600;
        for unit in [60, 1] {
            if self.eat(b':').is_none() {
                break;
            }
            seconds += i64::from(self.pair(59)?) * unit;
        }
        Some(sign * seconds)
    }
}

/// The value of at most 18 digits.
pub(super) fn number(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'))
}

/// Microseconds of at most 6 fraction digits.
pub(super) fn fraction_us(fraction: &[u8]) -> i64 {
    number(fraction) * 10i64.pow(6 - fraction.len() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_go_there_and_back_over_all_of_postgresqls_range() {
        // 4713-01-01 BC to 5874897-12-31, in steps that meet every month and leap rule.
        let mut days = -2_440_550;
        while days <= 2_145_042_905 {
            assert_eq!(Day::from_days_since_epoch(days).days_since_epoch(), days);
            days += if days < 200_000 { 1 } else { 9_973 };
        }
        let day = |year, month, day| Day { year, month, day }.days_since_epoch();
        assert_eq!(day(1970, 1, 1), 0);
        assert_eq!(day(2000, 2, 29), 11_016);
        assert_eq!(day(-4712, 1, 1), -2_440_550);
        assert_eq!(day(5_874_897, 12, 31), 2_145_042_905);
    }
}
