//! Date literals (`LAST_N_MONTHS:3`) and date functions (`CALENDAR_YEAR(CreatedDate)`).
//!
//! The org's time zone is UTC, its weeks begin on Sunday and its fiscal year is the calendar year.

use crate::value::{civil, days_from_civil};

/// A span of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

/// A range of whole periods, counted from the one that today lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relative {
    pub period: Period,
    /// Number of the first period; 0 is the present one.
    pub from: i32,
    pub count: i32,
}

/// Periods further away than this lie outside of every date that the org keeps.
const PERIODS_MAX: i32 = 1_000_000;

impl Relative {
    /// Reads a literal without a number.
    pub fn from_word(word: &str) -> Option<Self> {
        let range = |period, from, count| Some(Self { period, from, count });
        match word {
            "YESTERDAY" => return range(Period::Day, -1, 1),
            "TODAY" => return range(Period::Day, 0, 1),
            "TOMORROW" => return range(Period::Day, 1, 1),
            "LAST_90_DAYS" => return range(Period::Day, -90, 91),
            "NEXT_90_DAYS" => return range(Period::Day, 1, 90),
            _ => {}
        }
        let (when, period) = word.split_once('_')?;
        let from = match when {
            "LAST" => -1,
            "THIS" => 0,
            "NEXT" => 1,
            _ => return None,
        };
        let period = match period {
            "WEEK" => Period::Week,
            "MONTH" => Period::Month,
            "QUARTER" | "FISCAL_QUARTER" => Period::Quarter,
            "YEAR" | "FISCAL_YEAR" => Period::Year,
            _ => return None,
        };
        range(period, from, 1)
    }

    /// True for a literal that a number must follow: `LAST_N_DAYS`, `N_WEEKS_AGO`, …
    pub fn takes_number(word: &str) -> bool {
        Self::with_number(word, 1).is_some()
    }

    /// Reads a literal with its number.
    pub fn with_number(word: &str, number: i32) -> Option<Self> {
        let number = number.min(PERIODS_MAX);
        let period = |word: &str| {
            Some(match word {
                "DAYS" => Period::Day,
                "WEEKS" => Period::Week,
                "MONTHS" => Period::Month,
                "QUARTERS" | "FISCAL_QUARTERS" => Period::Quarter,
                "YEARS" | "FISCAL_YEARS" => Period::Year,
                _ => return None,
            })
        };
        if let Some(word) = word.strip_prefix("LAST_N_") {
            let period = period(word)?;
            // The last days include today; the last weeks and longer periods are whole ones before the present.
            let count = number + i32::from(period == Period::Day);
            return Some(Self { period, from: -number, count });
        }
        if let Some(word) = word.strip_prefix("NEXT_N_") {
            return Some(Self { period: period(word)?, from: 1, count: number });
        }
        let word = word.strip_prefix("N_")?.strip_suffix("_AGO")?;
        Some(Self { period: period(word)?, from: -number, count: 1 })
    }

    /// First day and the day after the last one, in days since 1970-01-01.
    pub fn days(self, today: i32) -> (i32, i32) {
        let start = |number: i32| self.period.start(today, number);
        (start(self.from), start(self.from.saturating_add(self.count)))
    }
}

impl Period {
    /// The first day of the period `number` after the one that `today` lies in.
    fn start(self, today: i32, number: i32) -> i32 {
        let (today, number) = (i64::from(today), i64::from(number));
        let (year, month, _) = civil(today);
        let month_start = |months: i64| {
            let months = year * 12 + month - 1 + months;
            days_from_civil(months.div_euclid(12), months.rem_euclid(12) + 1, 1)
        };
        let day = match self {
            Period::Day => today + number,
            // 1970-01-01 was a Thursday.
            Period::Week => today - (today + 4).rem_euclid(7) + 7 * number,
            Period::Month => month_start(number),
            Period::Quarter => month_start(number * 3 - (month - 1) % 3),
            Period::Year => days_from_civil(year + number, 1, 1),
        };
        i32::try_from(day).unwrap_or(if day < 0 { i32::MIN } else { i32::MAX })
    }
}

/// What a date function takes out of a date or a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DateFunction {
    Year,
    Quarter,
    Month,
    DayInMonth,
    DayInWeek,
    DayInYear,
    DayOnly,
    HourInDay,
    WeekInMonth,
    WeekInYear,
}

impl DateFunction {
    /// Reads a function's name.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "CALENDAR_YEAR" | "FISCAL_YEAR" => Self::Year,
            "CALENDAR_QUARTER" | "FISCAL_QUARTER" => Self::Quarter,
            "CALENDAR_MONTH" | "FISCAL_MONTH" => Self::Month,
            "DAY_IN_MONTH" => Self::DayInMonth,
            "DAY_IN_WEEK" => Self::DayInWeek,
            "DAY_IN_YEAR" => Self::DayInYear,
            "DAY_ONLY" => Self::DayOnly,
            "HOUR_IN_DAY" => Self::HourInDay,
            "WEEK_IN_MONTH" => Self::WeekInMonth,
            "WEEK_IN_YEAR" => Self::WeekInYear,
            _ => return None,
        })
    }

    /// The function's number for a moment; for `DAY_ONLY` the days since 1970-01-01.
    pub fn of(self, ms: i64) -> i64 {
        let days = ms.div_euclid(86_400_000);
        let (year, month, day) = civil(days);
        let in_year = days - days_from_civil(year, 1, 1) + 1;
        match self {
            Self::Year => year,
            Self::Quarter => (month - 1) / 3 + 1,
            Self::Month => month,
            Self::DayInMonth => day,
            Self::DayInWeek => (days + 4).rem_euclid(7) + 1,
            Self::DayInYear => in_year,
            Self::DayOnly => days,
            Self::HourInDay => ms.rem_euclid(86_400_000) / 3_600_000,
            Self::WeekInMonth => (day - 1) / 7 + 1,
            Self::WeekInYear => (in_year - 1) / 7 + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Value, parse_date};
    use proptest::prelude::*;

    fn range(word: &str, today: &str) -> String {
        let (word, number) = word.split_once(':').map_or((word, None), |(word, n)| (word, Some(n.parse().unwrap())));
        let relative = match number {
            Some(number) => Relative::with_number(word, number),
            None => Relative::from_word(word),
        };
        let (from, to) = relative.unwrap().days(parse_date(today).unwrap());
        format!("{} {}", Value::Date(from), Value::Date(to))
    }

    #[test]
    fn literals_cover_whole_periods_around_today() {
        for (word, today, expected) in [
            ("TODAY", "2026-11-21", "2026-11-21 2026-11-22"),
            ("LAST_N_DAYS:7", "2026-11-21", "2026-11-14 2026-11-22"),
            ("NEXT_N_DAYS:2", "2026-12-31", "2027-01-01 2027-01-03"),
            ("N_DAYS_AGO:1", "2026-03-01", "2026-02-28 2026-03-01"),
            ("THIS_WEEK", "2026-11-21", "2026-11-15 2026-11-22"),
            ("THIS_WEEK", "2026-11-22", "2026-11-22 2026-11-29"),
            ("LAST_N_WEEKS:2", "2026-11-21", "2026-11-01 2026-11-15"),
            ("LAST_MONTH", "2026-01-31", "2025-12-01 2026-01-01"),
            ("NEXT_N_MONTHS:2", "2026-11-21", "2026-12-01 2027-02-01"),
            ("THIS_QUARTER", "2026-11-21", "2026-10-01 2027-01-01"),
            ("N_QUARTERS_AGO:4", "2026-02-28", "2025-01-01 2025-04-01"),
            ("NEXT_FISCAL_QUARTER", "2026-11-21", "2027-01-01 2027-04-01"),
            ("NEXT_YEAR", "2026-11-21", "2027-01-01 2028-01-01"),
            ("LAST_N_YEARS:2", "2024-02-29", "2022-01-01 2024-01-01"),
            ("LAST_90_DAYS", "2026-11-21", "2026-08-23 2026-11-22"),
        ] {
            assert_eq!(range(word, today), expected, "{word} on {today}");
        }
        for word in ["LAST_FORTNIGHT", "THIS", "LAST_N_DAYS", "N_AGO", "today"] {
            assert_eq!(Relative::from_word(word), None, "{word}");
        }
    }

    #[test]
    fn functions_take_parts_out_of_a_moment() {
        let ms = i64::from(parse_date("2026-11-21").unwrap()) * 86_400_000 + 15 * 3_600_000;
        for (word, expected) in [
            ("CALENDAR_YEAR", 2026),
            ("FISCAL_QUARTER", 4),
            ("CALENDAR_MONTH", 11),
            ("DAY_IN_MONTH", 21),
            ("DAY_IN_WEEK", 7),
            ("DAY_IN_YEAR", 325),
            ("HOUR_IN_DAY", 15),
            ("WEEK_IN_MONTH", 3),
            ("WEEK_IN_YEAR", 47),
        ] {
            assert_eq!(DateFunction::from_word(word).unwrap().of(ms), expected, "{word}");
        }
    }

    proptest! {
        #[test]
        fn ranges_are_ordered_and_follow_each_other(today in -90_000i32..700_000, number in 0i32..2_000_000_000) {
            for unit in ["DAYS", "WEEKS", "MONTHS", "QUARTERS", "YEARS"] {
                for form in [format!("LAST_N_{unit}"), format!("NEXT_N_{unit}"), format!("N_{unit}_AGO")] {
                    let (from, to) = Relative::with_number(&form, number).unwrap().days(today);
                    prop_assert!(from <= to);
                }
            }
            for unit in ["WEEK", "MONTH", "QUARTER", "YEAR"] {
                let at = |when: &str| Relative::from_word(&format!("{when}_{unit}")).unwrap().days(today);
                prop_assert!(at("LAST").1 == at("THIS").0 && at("THIS").1 == at("NEXT").0);
                prop_assert!(at("THIS").0 <= today && today < at("THIS").1);
            }
        }
    }
}
