//! Faults by rule: which requests or rows they hit, and what they do to them.
//!
//! A rule counts its own matches, so "every third call" means the third call that the rule looks at. Fractions are
//! drawn by hashing the seed, the rule and the match's number: the same calls in the same order meet the same faults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A kind of request, for rules and the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    Oauth,
    /// Versions, resources, limits.
    Metadata,
    Describe,
    Query,
    Single,
    Collections,
    /// Composite, Batch, Graph and Tree as a whole; their parts match as calls of their own.
    Composite,
    /// Change events and platform events on their way to the bus; only rules that say so look at them.
    Events,
    /// Calls of the Pub/Sub API.
    Pubsub,
    /// Bayeux messages.
    Cometd,
    /// Bulk API 1.0 and 2.0.
    Bulk,
}

impl Api {
    /// The word in rules and in the history.
    pub fn word(self) -> &'static str {
        match self {
            Api::Oauth => "oauth",
            Api::Metadata => "metadata",
            Api::Describe => "describe",
            Api::Query => "query",
            Api::Single => "single",
            Api::Collections => "collections",
            Api::Composite => "composite",
            Api::Events => "events",
            Api::Pubsub => "pubsub",
            Api::Cometd => "cometd",
            Api::Bulk => "bulk",
        }
    }
}

/// What a request does with records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    Read,
    Create,
    Update,
    Upsert,
    Delete,
}

/// A call of a Bulk API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BulkCall {
    Create,
    Upload,
    Close,
    Abort,
    Delete,
    Info,
    List,
    Results,
}

/// What of a Bulk API a rule's effect is for. Other APIs have calls only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Call(BulkCall),
    /// A job about to start.
    Job,
    /// Rows about to be applied.
    Rows,
    /// A result file about to be sent.
    Results,
}

/// Which requests a rule looks at. What is left out matches all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FaultMatch {
    pub api: Option<Api>,
    pub object: Option<String>,
    pub operation: Option<Operation>,
    /// The name from `Sforce-Call-Options`.
    pub client: Option<String>,
    /// Only requests with a record of one of these keys; a row effect then hits only these rows.
    pub external_id: Vec<String>,
    /// Only this call of a Bulk API.
    pub bulk: Option<BulkCall>,
}

/// When the effect comes about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Nothing is applied yet; a cut or refused request never is.
    #[default]
    Before,
    /// Everything is applied; the caller does not learn of it.
    After,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "kind")]
pub enum Effect {
    /// Rows fail with this code; the others are applied.
    RowError {
        code: String,
        #[serde(default)]
        message: String,
        #[serde(default)]
        fields: Vec<String>,
        /// Part of the rows, 0 to 1.
        #[serde(default = "one")]
        row_fraction: f64,
    },
    /// Rows fail with `UNABLE_TO_LOCK_ROW` in Salesforce's words.
    LockRows {
        #[serde(default = "one")]
        row_fraction: f64,
    },
    /// The request is answered with this status and error, and not applied.
    Http {
        status: u16,
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    },
    /// The request is answered with an HTML page and status 503, and not applied.
    Html503,
    /// The answer waits.
    Hang {
        ms: u64,
        #[serde(default)]
        when: When,
    },
    /// Rows carry the times of a transaction that began so long before they can be seen.
    LateCommit { ms: u64 },
    /// The connection is closed without an answer.
    Cut {
        #[serde(default)]
        when: When,
    },
    /// The request is applied; the connection is closed in the middle of the answer's body.
    CutBody,
    /// The caller's session ends before the request is looked at.
    RevokeSession,
    /// The event never reaches the bus.
    LoseEvent,
    /// The event is on the bus twice, with the same id and two replay ids.
    DuplicateEvent,
    /// The event becomes visible later than those of later commits.
    LateEvent { ms: u64 },
    /// Instead of the event only a gap is told.
    GapEvent,
    /// A Pub/Sub call or stream ends with this error code (what follows `sfdc.platform.eventbus.grpc.`).
    Grpc {
        code: String,
        /// gRPC's number; the one that belongs to the code if left out.
        #[serde(default)]
        status: Option<i32>,
        #[serde(default)]
        message: String,
    },
    /// A Pub/Sub stream is ended by RST_STREAM, without a status.
    ResetStream,
    /// A Pub/Sub stream stays open and is silent from here on, keepalives included.
    StallStream,
    /// The request is applied and then answered with this status and error.
    HttpAfter {
        status: u16,
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    },
    /// A Bulk job stops for so many milliseconds, or until it is aborted, once so many rows were worked off.
    JobStuck {
        #[serde(default)]
        after_rows: u64,
        #[serde(default)]
        ms: Option<u64>,
    },
    /// A Bulk job fails with this message, once so many rows were worked off.
    JobFail {
        message: String,
        #[serde(default)]
        after_rows: u64,
    },
    /// A result file of a Bulk job ends early, as if that were its end.
    TruncateResults {
        /// Part of the file that is sent, 0 to 1.
        #[serde(default = "half")]
        fraction: f64,
    },
    /// A value of a Bulk job's result file has a NUL byte.
    NulByte,
}

impl Effect {
    /// True when the effect is for this part of a Bulk API.
    fn is_for(&self, part: Part) -> bool {
        match self {
            Effect::RowError { .. } | Effect::LockRows { .. } => part == Part::Rows,
            Effect::JobStuck { .. } | Effect::JobFail { .. } => part == Part::Job,
            Effect::TruncateResults { .. } | Effect::NulByte => part == Part::Results,
            _ => matches!(part, Part::Call(_)),
        }
    }
}

fn half() -> f64 {
    0.5
}

fn one() -> f64 {
    1.0
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    #[serde(default, rename = "match")]
    pub matches: FaultMatch,
    pub effect: Effect,
    /// Passes over this many matches first.
    #[serde(default)]
    pub after: u64,
    /// Fires on every nth match (from the first), 1 for each.
    #[serde(default = "every")]
    pub every: u64,
    /// Part of the matches that fire, 0 to 1.
    #[serde(default = "one")]
    pub fraction: f64,
    /// Fires at most so often; none without end.
    #[serde(default)]
    pub count: Option<u64>,
    /// In force only then; none from now on.
    #[serde(default)]
    pub schedule: Option<Schedule>,
}

/// When a rule is in force, by the org's clock; other requests do not count as matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// From so many milliseconds after the rule was added.
    #[serde(default)]
    pub in_ms: i64,
    /// For so many milliseconds; none without end.
    #[serde(default)]
    pub for_ms: Option<i64>,
}

impl Schedule {
    fn holds(self, since_added_ms: i64) -> bool {
        let since = since_added_ms - self.in_ms;
        since >= 0 && self.for_ms.is_none_or(|length| since < length)
    }
}

fn every() -> u64 {
    1
}

impl FaultRule {
    /// A rule that fires on each match.
    pub fn new(matches: FaultMatch, effect: Effect) -> Self {
        Self { matches, effect, after: 0, every: 1, fraction: 1.0, count: None, schedule: None }
    }

    /// The same rule, firing at most `count` times.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }
}

/// What a request looks like to the rules.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub api: Api,
    pub object: Option<&'a str>,
    pub operation: Operation,
    pub client: Option<&'a str>,
    /// The key of each row, in order; empty text for a row without one.
    pub keys: &'a [String],
    pub rows: usize,
}

/// What was decided for a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decided {
    pub refuse: Option<Refusal>,
    pub hang_before_ms: u64,
    pub hang_after_ms: u64,
    pub cut_before: bool,
    pub cut_after: bool,
    pub cut_body: bool,
    /// The answer that stands in for the real one.
    pub replace: Option<Refusal>,
    pub revoke: bool,
    pub lose: bool,
    pub duplicate: bool,
    pub late_ms: u64,
    /// How long before its end the transaction began.
    pub began_before_ms: u64,
    pub gap: bool,
    /// Code, status and message.
    pub grpc: Option<(String, Option<i32>, String)>,
    pub reset_stream: bool,
    pub stall: bool,
    /// Row number and its error, sorted, at most one per row.
    pub rows: Vec<(usize, RowFault)>,
}

/// An answer instead of the work.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    Http { status: u16, code: String, message: String },
    Html503,
}

/// An error for one row.
#[derive(Clone, Debug, PartialEq)]
pub struct RowFault {
    pub code: String,
    pub message: String,
    pub fields: Vec<String>,
}

#[derive(Clone, Debug)]
struct Armed {
    id: u64,
    rule: FaultRule,
    matched: u64,
    fired: u64,
    added_ms: i64,
}

/// A rule as `GET /_sim/faults` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FaultReport {
    pub id: u64,
    pub rule: FaultRule,
    pub matched: u64,
    pub fired: u64,
}

/// The rules of an org.
#[derive(Clone, Debug)]
pub struct Faults {
    seed: u64,
    next_id: u64,
    rules: Vec<Armed>,
    now_ms: i64,
}

impl Faults {
    /// Makes an empty set whose fractions are drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, next_id: 1, rules: Vec::new(), now_ms: 0 }
    }

    /// Says what the org's clock shows, for schedules.
    pub fn set_now(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
    }

    /// Adds a rule and returns its number.
    pub fn add(&mut self, rule: FaultRule) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.rules.push(Armed { id, rule, matched: 0, fired: 0, added_ms: self.now_ms });
        id
    }

    /// Removes one rule, or all; how many were removed.
    pub fn remove(&mut self, id: Option<u64>) -> usize {
        let before = self.rules.len();
        self.rules.retain(|armed| id.is_some_and(|id| armed.id != id));
        before - self.rules.len()
    }

    /// Every rule with its counts.
    pub fn report(&self) -> Vec<FaultReport> {
        let report = |armed: &Armed| FaultReport {
            id: armed.id,
            rule: armed.rule.clone(),
            matched: armed.matched,
            fired: armed.fired,
        };
        self.rules.iter().map(report).collect()
    }

    /// True when no rule can fire any more.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// True when a rule looks at the rows' keys.
    pub fn wants_keys(&self) -> bool {
        self.rules.iter().any(|armed| !armed.rule.matches.external_id.is_empty())
    }

    /// Decides what happens to a request; counts matches.
    pub fn decide(&mut self, seen: &Seen<'_>) -> Decided {
        self.decide_part(seen, None)
    }

    /// Decides what happens to a part of a Bulk API; counts matches of the rules whose effects are for it.
    pub fn decide_part(&mut self, seen: &Seen<'_>, part: Option<Part>) -> Decided {
        let mut decided = Decided::default();
        self.fire(seen, part, |rule, dice| apply(&mut decided, rule, seen, dice));
        decided.rows.sort_by_key(|(row, _)| *row);
        decided.rows.dedup_by_key(|(row, _)| *row);
        decided
    }

    /// The effects that come about for a part of a Bulk API; counts matches.
    pub fn effects(&mut self, seen: &Seen<'_>, part: Part) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.fire(seen, Some(part), |rule, _| effects.push(rule.effect.clone()));
        effects
    }

    fn fire(&mut self, seen: &Seen<'_>, part: Option<Part>, mut act: impl FnMut(&FaultRule, &dyn Fn(usize) -> f64)) {
        let (seed, now_ms) = (self.seed, self.now_ms);
        for armed in &mut self.rules {
            let in_force = armed.rule.schedule.is_none_or(|schedule| schedule.holds(now_ms - armed.added_ms));
            if !in_force || !matches(&armed.rule.matches, seen) || !fits(&armed.rule, part) {
                continue;
            }
            let nth = armed.matched;
            armed.matched += 1;
            let rule = &armed.rule;
            let due = nth >= rule.after && (nth - rule.after) % rule.every.max(1) == 0;
            let left = rule.count.is_none_or(|count| armed.fired < count);
            if due && left && draw(seed, armed.id, nth, u64::MAX) < rule.fraction {
                armed.fired += 1;
                act(rule, &|row| draw(seed, armed.id, nth, row as u64));
            }
        }
    }
}

/// Tells whether a rule looks at a part of a Bulk API; none for other APIs, which have rows and calls in one.
fn fits(rule: &FaultRule, part: Option<Part>) -> bool {
    let Some(part) = part else {
        let anywhere =
            rule.effect.is_for(Part::Rows) || !(rule.effect.is_for(Part::Job) || rule.effect.is_for(Part::Results));
        return rule.matches.bulk.is_none() && anywhere;
    };
    let call = match part {
        Part::Call(call) => Some(call),
        Part::Results => Some(BulkCall::Results),
        Part::Job | Part::Rows => None,
    };
    rule.effect.is_for(part) && (rule.matches.bulk.is_none() || rule.matches.bulk == call)
}

fn matches(wanted: &FaultMatch, seen: &Seen<'_>) -> bool {
    wanted.api.map_or(seen.api != Api::Events, |api| api == seen.api)
        && wanted.operation.is_none_or(|operation| operation == seen.operation)
        && wanted.object.as_deref().is_none_or(|object| seen.object.is_some_and(|o| o.eq_ignore_ascii_case(object)))
        && wanted.client.as_deref().is_none_or(|client| seen.client == Some(client))
        && (wanted.external_id.is_empty() || seen.keys.iter().any(|key| wanted.external_id.contains(key)))
}

fn apply(decided: &mut Decided, rule: &FaultRule, seen: &Seen<'_>, dice: &dyn Fn(usize) -> f64) {
    let mut hit = |fraction: f64, fault: RowFault| {
        let keys = &rule.matches.external_id;
        for row in 0..seen.rows {
            let meant = keys.is_empty() || seen.keys.get(row).is_some_and(|key| keys.contains(key));
            if meant && dice(row) < fraction {
                decided.rows.push((row, fault.clone()));
            }
        }
    };
    match &rule.effect {
        Effect::RowError { code, message, fields, row_fraction } => {
            hit(*row_fraction, RowFault { code: code.clone(), message: message.clone(), fields: fields.clone() });
        }
        Effect::LockRows { row_fraction } => hit(*row_fraction, locked("")),
        Effect::Http { status, code, message } => {
            decided.refuse = Some(Refusal::Http { status: *status, code: code.clone(), message: message.clone() });
        }
        Effect::Html503 => decided.refuse = Some(Refusal::Html503),
        Effect::Hang { ms, when: When::Before } => decided.hang_before_ms += ms,
        Effect::Hang { ms, when: When::After } => decided.hang_after_ms += ms,
        Effect::LateCommit { ms } => decided.began_before_ms += ms,
        Effect::Cut { when: When::Before } => decided.cut_before = true,
        Effect::Cut { when: When::After } => decided.cut_after = true,
        Effect::CutBody => decided.cut_body = true,
        Effect::RevokeSession => decided.revoke = true,
        Effect::LoseEvent => decided.lose = true,
        Effect::DuplicateEvent => decided.duplicate = true,
        Effect::LateEvent { ms } => decided.late_ms += ms,
        Effect::GapEvent => decided.gap = true,
        Effect::Grpc { code, status, message } => decided.grpc = Some((code.clone(), *status, message.clone())),
        Effect::ResetStream => decided.reset_stream = true,
        Effect::StallStream => decided.stall = true,
        Effect::HttpAfter { status, code, message } => {
            decided.replace = Some(Refusal::Http { status: *status, code: code.clone(), message: message.clone() });
        }
        // `effects` gives these to the Bulk APIs.
        Effect::JobStuck { .. } | Effect::JobFail { .. } | Effect::TruncateResults { .. } | Effect::NulByte => {}
    }
}

/// The error of a row that could not be locked.
pub fn locked(ids: &str) -> RowFault {
    let message = if ids.is_empty() {
        "unable to obtain exclusive access to this record".to_owned()
    } else {
        format!("unable to obtain exclusive access to this record or 1 records: {ids}")
    };
    RowFault { code: "UNABLE_TO_LOCK_ROW".into(), message, fields: Vec::new() }
}

/// A number in 0 to 1 (1 excluded) that depends on nothing but its arguments.
pub fn draw(seed: u64, rule: u64, nth: u64, row: u64) -> f64 {
    let mut bytes = [0u8; 24];
    bytes[..8].copy_from_slice(&rule.to_le_bytes());
    bytes[8..16].copy_from_slice(&nth.to_le_bytes());
    bytes[16..].copy_from_slice(&row.to_le_bytes());
    (xxh3_64_with_seed(&bytes, seed) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(keys: &[String]) -> Seen<'_> {
        Seen {
            api: Api::Collections,
            object: Some("Account"),
            operation: Operation::Upsert,
            client: Some("penstock"),
            keys,
            rows: keys.len(),
        }
    }

    fn row_error(row_fraction: f64) -> Effect {
        Effect::RowError { code: "X".into(), message: String::new(), fields: Vec::new(), row_fraction }
    }

    #[test]
    fn rule_fires_after_every_and_count_as_written() {
        let mut faults = Faults::new(1);
        let rule =
            FaultRule { after: 1, every: 3, count: Some(2), ..FaultRule::new(FaultMatch::default(), Effect::CutBody) };
        faults.add(rule);
        let fired: Vec<bool> = (0..12).map(|_| faults.decide(&seen(&[])).cut_body).collect();
        let at: Vec<usize> = fired.iter().enumerate().filter(|(_, fired)| **fired).map(|(at, _)| at).collect();
        assert_eq!(at, [1, 4]);
        assert_eq!((faults.report()[0].matched, faults.report()[0].fired), (12, 2));
        assert_eq!(faults.remove(None), 1);
    }

    #[test]
    fn scheduled_rule_is_in_force_for_its_time_only() {
        let mut faults = Faults::new(1);
        faults.set_now(1_000);
        let schedule = Some(Schedule { in_ms: 500, for_ms: Some(100) });
        faults.add(FaultRule { schedule, ..FaultRule::new(FaultMatch::default(), Effect::CutBody) });
        let at = |faults: &mut Faults, now_ms| {
            faults.set_now(now_ms);
            faults.decide(&seen(&[])).cut_body
        };
        let fired = [1_000, 1_499, 1_500, 1_599, 1_600].map(|now_ms| at(&mut faults, now_ms));
        assert_eq!(fired, [false, false, true, true, false]);
        assert_eq!(faults.report()[0].matched, 2);
    }

    #[test]
    fn key_rule_hits_only_its_rows_and_other_requests_do_not_count() {
        let mut faults = Faults::new(1);
        faults
            .add(FaultRule::new(FaultMatch { external_id: vec!["b".into()], ..FaultMatch::default() }, row_error(1.0)));
        assert!(faults.wants_keys());
        assert_eq!(faults.decide(&seen(&["a".into()])), Decided::default());
        let decided = faults.decide(&seen(&["a".into(), "b".into(), "c".into()]));
        assert_eq!(decided.rows.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [1]);
        assert_eq!(faults.report()[0].matched, 1);
    }

    #[test]
    fn fractions_repeat_for_a_seed_and_are_near_their_size() {
        let keys: Vec<String> = (0..1000).map(|at| at.to_string()).collect();
        let run = |seed| {
            let mut faults = Faults::new(seed);
            faults.add(FaultRule::new(FaultMatch::default(), row_error(0.2)));
            faults.decide(&seen(&keys)).rows.len()
        };
        assert_eq!(run(7), run(7));
        assert!((150..250).contains(&run(7)) && (150..250).contains(&run(8)));
    }

    #[test]
    fn rule_is_read_from_yaml_and_unknown_words_are_refused() {
        let text = "match: {api: collections, object: Case}\neffect: {kind: hang, ms: 50, when: after}\ncount: 1\n";
        let rule: FaultRule = serde_saphyr::from_str(text).unwrap();
        assert_eq!(rule.effect, Effect::Hang { ms: 50, when: When::After });
        assert!(serde_saphyr::from_str::<FaultRule>("effect: {kind: hang, seconds: 5}").is_err());
    }
}
