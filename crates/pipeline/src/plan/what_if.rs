//! Changes of a plan's inputs: what `--what-if` asks, and what remedies try.

use super::facts::PlanInputs;
use crate::router::ApiSetting;
use crate::spec::Coalesce;
use governor::{Edition, Entitlement};
use model::{OrgId, RouteId};
use std::fmt;
use std::time::Duration;

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// So many times as many changes, of every table.
    Rate(f64),
    /// So many times as many rows to copy.
    Rows(f64),
    /// Another share of every allocation of an org (none: of every org), 0 to 1.
    Share(Option<OrgId>, f64),
    /// Another edition of every org.
    Edition(Edition),
    /// Another number of user licences.
    Licences(u64),
    /// So many event add-ons.
    EventAddOns(u64),
    /// So many API requests a day on top.
    ApiRequests(u64),
    /// Another deadline, of a route or (none) of all.
    Deadline(Option<RouteId>, Duration),
    /// `coalesce: latest`.
    Coalesce(RouteId),
    /// The router may choose.
    Auto(RouteId),
    /// More batches of a route in flight at once.
    Parallel(RouteId, usize),
    /// So many subscribers to events.
    Subscribers(u64),
}

/// Why a text is no change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no change: {why}")]
pub struct ChangeError {
    pub text: String,
    pub why: String,
}

impl Change {
    /// Parses `rate=2x`, `rows=2x`, `share=80%`, `edition=unlimited`, `licences=500`, `add-on=events:1`, `add-on=api:100000`,
    /// `deadline=15m`, `deadline=ROUTE:15m`, `coalesce=ROUTE`, `api=ROUTE:auto`, `parallel=ROUTE:8`, `subscribers=3`.
    ///
    /// # Errors
    /// What is wrong, with what could stand there.
    pub fn parse(text: &str) -> Result<Self, ChangeError> {
        let wrong = |why: &str| ChangeError { text: text.to_owned(), why: why.to_owned() };
        let (name, value) = text.split_once('=').ok_or_else(|| wrong("write name=value"))?;
        let (name, value) = (name.trim(), value.trim());
        let times = || {
            let number = value.strip_suffix(['x', 'X', '×']).and_then(|number| number.parse::<f64>().ok());
            number
                .filter(|number| number.is_finite() && *number > 0.0)
                .ok_or_else(|| wrong("write a factor such as 2x"))
        };
        let whole = |value: &str| value.parse::<u64>().map_err(|_| wrong("write a whole number"));
        let pair = || value.split_once(':').ok_or_else(|| wrong("write route:value"));
        Ok(match name {
            "rate" => Self::Rate(times()?),
            "rows" => Self::Rows(times()?),
            "share" => {
                let percent = value.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
                let percent = percent.filter(|percent| *percent > 0.0 && *percent <= 100.0);
                Self::Share(None, percent.ok_or_else(|| wrong("write a percentage such as 80%"))? / 100.0)
            }
            "edition" => Self::Edition(edition_of(value).ok_or_else(|| wrong(EDITIONS))?),
            "licences" | "licenses" => Self::Licences(whole(value)?),
            "add-on" => match pair()? {
                ("events", number) => Self::EventAddOns(whole(number)?),
                ("api", number) => Self::ApiRequests(whole(number)?),
                _ => return Err(wrong("write events:NUMBER or api:REQUESTS_A_DAY")),
            },
            "deadline" => {
                let (route, time) = value.split_once(':').map_or((None, value), |(route, time)| (Some(route), time));
                let time = parse_time(time).ok_or_else(|| wrong("write a time such as 15m"))?;
                Self::Deadline(route.map(RouteId::new), time)
            }
            "coalesce" => Self::Coalesce(RouteId::new(value)),
            "api" => match pair()? {
                (route, "auto") => Self::Auto(RouteId::new(route)),
                _ => return Err(wrong("write route:auto")),
            },
            "parallel" => {
                let (route, number) = pair()?;
                let number = usize::try_from(whole(number)?).ok().filter(|number| *number > 0);
                Self::Parallel(RouteId::new(route), number.ok_or_else(|| wrong("write 1 or more"))?)
            }
            "subscribers" => Self::Subscribers(whole(value)?),
            _ => {
                let known = "one of rate, rows, share, edition, licences, add-on, deadline, coalesce, api, parallel, subscribers";
                return Err(wrong(known));
            }
        })
    }

    /// Makes the change.
    ///
    /// # Errors
    /// When it names a route that is not there: a question about nothing has no answer.
    pub fn apply(&self, inputs: &mut PlanInputs) -> Result<(), ChangeError> {
        if let Some(route) = self.route()
            && !inputs.routes.iter().any(|known| known.id == *route)
        {
            let why = format!("there is no route {route}");
            return Err(ChangeError { text: self.to_string(), why });
        }
        let of = |route: &RouteId| self.route().is_none_or(|only| only == route);
        let routes = inputs.routes.iter_mut().filter(|route| of(&route.id));
        match self {
            Self::Rate(factor) => {
                routes.for_each(|route| route.rate = route.rate.map(|rate| rate.times(*factor)));
            }
            Self::Rows(factor) => routes.filter_map(|route| route.rows.as_mut()).for_each(|rows| {
                rows.rows = (rows.rows as f64 * factor).round() as u64;
            }),
            Self::Deadline(_, deadline) => routes.for_each(|route| route.deadline = *deadline),
            Self::Coalesce(_) => routes.for_each(|route| route.coalesce = Coalesce::Latest),
            Self::Auto(_) => routes.for_each(|route| route.setting = ApiSetting::Auto),
            Self::Parallel(_, parallel) => routes.for_each(|route| route.parallel = *parallel),
            Self::Share(only, share) => {
                let orgs = inputs.orgs.iter_mut().filter(|org| only.as_ref().is_none_or(|only| *only == org.id));
                orgs.flat_map(|org| &mut org.allocations).for_each(|allocation| allocation.share = *share);
            }
            Self::Subscribers(number) => inputs.orgs.iter_mut().for_each(|org| org.subscribers = *number),
            Self::Edition(edition) => entitle(inputs, |org| org.edition = *edition),
            Self::Licences(number) => entitle(inputs, |org| org.licences = *number),
            Self::EventAddOns(number) => entitle(inputs, |org| org.event_add_ons = *number),
            Self::ApiRequests(number) => entitle(inputs, |org| org.api_requests_added = *number),
        }
        Ok(())
    }

    fn route(&self) -> Option<&RouteId> {
        match self {
            Self::Deadline(route, _) => route.as_ref(),
            Self::Coalesce(route) | Self::Auto(route) | Self::Parallel(route, _) => Some(route),
            _ => None,
        }
    }
}

/// Changes what an org is entitled to; its maxima follow, its use stays.
fn entitle(inputs: &mut PlanInputs, change: impl Fn(&mut Entitlement)) {
    for org in &mut inputs.orgs {
        change(&mut org.entitlement);
        for allocation in &mut org.allocations {
            allocation.max = allocation.kind.max(&org.entitlement);
        }
    }
}

const EDITIONS: &str = "write developer, professional, enterprise, unlimited, performance or full_sandbox";

/// An edition by its word, without regard to case.
fn edition_of(word: &str) -> Option<Edition> {
    serde_json::from_value(serde_json::Value::String(word.to_ascii_lowercase().replace('-', "_"))).ok()
}

/// An edition for people.
pub fn edition_words(edition: Edition) -> &'static str {
    match edition {
        Edition::Developer => "Developer",
        Edition::Professional => "Professional",
        Edition::Enterprise => "Enterprise",
        Edition::Unlimited => "Unlimited",
        Edition::Performance => "Performance",
        Edition::FullSandbox => "Full Sandbox",
    }
}

/// `250ms`, `30s`, `15m`, `2h`, `1d`.
fn parse_time(text: &str) -> Option<Duration> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..at].parse().ok()?;
    let unit_ms: u64 = match &text[at..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit_ms).filter(|ms| *ms > 0 && *ms < 1 << 45).map(Duration::from_millis)
}

/// A time in the words that `parse` takes.
pub(super) fn time_words(time: Duration) -> String {
    let ms = time.as_millis() as u64;
    [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")]
        .into_iter()
        .find(|(unit, _)| ms > 0 && ms.is_multiple_of(*unit))
        .map_or_else(|| format!("{ms}ms"), |(unit, word)| format!("{}{word}", ms / unit))
}

impl fmt::Display for Change {
    /// As an operator would carry it out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate(factor) => write!(f, "{factor}× the changes"),
            Self::Rows(factor) => write!(f, "{factor}× the rows"),
            Self::Share(Some(org), share) => write!(f, "orgs.{org}.share: {:.0}%", share * 100.0),
            Self::Share(None, share) => write!(f, "share: {:.0}%", share * 100.0),
            Self::Edition(edition) => write!(f, "an org of {} edition", edition_words(*edition)),
            Self::Licences(number) => write!(f, "{number} user licences"),
            Self::EventAddOns(number) => write!(f, "{number} event add-on(s)"),
            Self::ApiRequests(number) => write!(f, "{number} API requests a day bought on top"),
            Self::Deadline(Some(route), time) => write!(f, "routes.{route}.deadline: {}", time_words(*time)),
            Self::Deadline(None, time) => write!(f, "deadline: {}", time_words(*time)),
            Self::Coalesce(route) => write!(f, "routes.{route}.coalesce: latest"),
            Self::Auto(route) => write!(f, "routes.{route}.api: auto"),
            Self::Parallel(route, number) => write!(f, "routes.{route}.parallel: {number}"),
            Self::Subscribers(number) => write!(f, "{number} subscriber(s) to the events"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn changes_parse_and_nonsense_says_what_could_stand_there() {
        assert_eq!(Change::parse("rate=2x"), Ok(Change::Rate(2.0)));
        assert_eq!(Change::parse("share=80%"), Ok(Change::Share(None, 0.8)));
        assert_eq!(Change::parse("edition=Unlimited"), Ok(Change::Edition(Edition::Unlimited)));
        assert_eq!(Change::parse("add-on=events:2"), Ok(Change::EventAddOns(2)));
        assert_eq!(
            Change::parse("deadline=orders:15m"),
            Ok(Change::Deadline(Some("orders".into()), Duration::from_secs(900)))
        );
        for wrong in [
            "",
            "rate",
            "rate=2",
            "rate=-1x",
            "rate=NaNx",
            "share=0%",
            "share=101%",
            "edition=gold",
            "deadline=0s",
            "add-on=1",
            "parallel=a:0",
            "licences=many",
            "colour=blue",
            "deadline=99999999999999d",
        ] {
            assert!(!Change::parse(wrong).expect_err(wrong).why.is_empty(), "{wrong}");
        }
    }

    #[test]
    fn times_are_told_as_they_are_written() {
        for text in ["15m", "250ms", "1d", "36h", "5s"] {
            assert_eq!(time_words(parse_time(text).unwrap()), text);
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_a_change_or_an_error(text: String, name in "rate|share|deadline|add-on|parallel|api", value: String) {
            let _no_panic = (Change::parse(&text), Change::parse(&format!("{name}={value}")));
        }
    }
}
