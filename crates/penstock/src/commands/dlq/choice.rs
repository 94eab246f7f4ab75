//! Which dead letters a command is about, from what the operator wrote.

use crate::cli::DlqChoice;
use crate::config::Time;
use model::{ErrorClass, Offset, RouteId};
use pipeline::dlq::DlqFilter;
use pipeline::proof::KeyQuery;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What was written makes no sense.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub cause: String,
    pub fix: String,
}

impl Refused {
    pub(super) fn new(cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { cause: cause.into(), fix: fix.into() }
    }
}

/// The chosen dead letters.
#[derive(Debug, PartialEq)]
pub(super) enum Chosen {
    Ids(Vec<Offset>),
    /// Every open one that it takes.
    Filter(DlqFilter),
}

/// Ids, or a filter, or `--all`: exactly one of them.
pub(super) fn chosen(ids: &[u64], all: bool, choice: &DlqChoice, now_ms: i64) -> Result<Chosen, Refused> {
    let filter = filter(choice, now_ms)?;
    let filtered = filter != DlqFilter::default();
    match (ids.is_empty(), filtered || all) {
        (false, false) => Ok(Chosen::Ids(ids.iter().copied().map(Offset).collect())),
        (true, true) => Ok(Chosen::Filter(filter)),
        (true, false) => Err(Refused::new("no dead letter is named", "name ids, a filter such as --code, or --all")),
        (false, true) => Err(Refused::new("both ids and a filter are given", "give one of them")),
    }
}

/// The filter that was written; moments may be RFC 3339 or an age such as `2h`.
pub(super) fn filter(choice: &DlqChoice, now_ms: i64) -> Result<DlqFilter, Refused> {
    let moment = |text: &Option<String>| text.as_deref().map(|text| moment(text, now_ms)).transpose();
    let key = choice.key.as_deref().map(KeyQuery::parse).transpose();
    Ok(DlqFilter {
        route: choice.route.as_deref().map(RouteId::new),
        code: choice.code.clone(),
        class: choice.class.as_deref().map(class).transpose()?,
        table: choice.table.clone(),
        key: key.map_err(|error| Refused::new(error.to_string(), "write 7, id=7 or '{\"id\":7}'"))?,
        since_ms: moment(&choice.since)?,
        until_ms: moment(&choice.until)?,
        ..DlqFilter::default()
    })
}

fn class(word: &str) -> Result<ErrorClass, Refused> {
    serde_json::from_value(Value::from(word.to_lowercase())).map_err(|_| {
        let known = "transient, lock, quota, parent_missing, auth, business_rule, permanent, collateral, unknown";
        Refused::new(format!("{word:?} is no class of failure"), format!("write one of {known}"))
    })
}

fn moment(text: &str, now_ms: i64) -> Result<i64, Refused> {
    if let Ok(age) = Time::parse(text) {
        return Ok(now_ms.saturating_sub(i64::try_from(age.0.as_millis()).unwrap_or(i64::MAX)));
    }
    let parsed = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| {
        Refused::new(format!("{text:?} is no moment"), "write 2h (two hours ago) or 2026-11-21T21:00:00Z")
    })?;
    Ok((parsed.unix_timestamp_nanos() / 1_000_000) as i64)
}

/// `50/s`, `300/m`, or a number of dead letters in a second.
pub(super) fn rate(text: &str) -> Result<f64, Refused> {
    let wrong = || Refused::new(format!("{text:?} is no rate"), "write 50/s, 300/m or 1000/h");
    let (number, seconds) = match text.split_once('/') {
        None => (text, 1.0),
        Some((number, "s")) => (number, 1.0),
        Some((number, "m")) => (number, 60.0),
        Some((number, "h")) => (number, 3_600.0),
        Some(_) => return Err(wrong()),
    };
    let rate = number.trim().parse::<f64>().map_err(|_| wrong())? / seconds;
    // Below, one dead letter would wait for more than a day.
    if rate.is_finite() && rate >= 1.0 / 86_400.0 { Ok(rate) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_moments_parse_and_refuse() {
        assert_eq!((rate("50/s"), rate("300/m"), rate("7")), (Ok(50.0), Ok(5.0), Ok(7.0)));
        for wrong in ["", "0/s", "-1/s", "x/s", "5/d", "NaN", "inf"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
        assert_eq!(moment("2h", 10_000_000), Ok(2_800_000));
        assert_eq!(moment("1970-01-01T00:00:01.5Z", 0), Ok(1_500));
        assert!(moment("yesterday", 0).is_err());
        assert!(class("business_rule").is_ok() && class("BUSINESS_RULE").is_ok() && class("rule").is_err());
    }

    #[test]
    fn exactly_one_choice_must_be_made() {
        let none = DlqChoice::default();
        let by_code = DlqChoice { code: Some("X".into()), ..DlqChoice::default() };
        assert!(chosen(&[], false, &none, 0).is_err() && chosen(&[1], true, &none, 0).is_err());
        assert!(chosen(&[1], false, &by_code, 0).is_err());
        assert_eq!(chosen(&[1], false, &none, 0), Ok(Chosen::Ids(vec![Offset(1)])));
        assert_eq!(chosen(&[], true, &none, 0), Ok(Chosen::Filter(DlqFilter::default())));
        assert!(matches!(chosen(&[], false, &by_code, 0), Ok(Chosen::Filter(_))));
    }
}
