//! The sub-commands that look into a running simulated org and steer it: each is one of its control requests.

use super::seed::seed;
use crate::cli::{FaultCommand, OrgCommand};
use crate::config::values::Time;
use crate::output::{Answer, Exit, Problem, count, table, thousands};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::time::Duration;

/// A call to a control request of an org on loopback answers at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running simulated org.
pub(super) struct Running {
    pub(super) client: Client,
    /// Without a slash at the end.
    pub(super) url: String,
}

/// Carries a sub-command out at the org that listens at `url`.
pub async fn run(url: &str, command: &OrgCommand) -> Answer {
    let client = match Client::builder().timeout(PATIENCE).no_proxy().build() {
        Ok(client) => client,
        Err(error) => return Answer::failed(unreachable(url, error.to_string())),
    };
    let org = Running { client, url: url.trim_end_matches('/').to_owned() };
    let done = match command {
        OrgCommand::Seed(args) => seed(&org, args).await,
        OrgCommand::Fault { command } => fault(&org, command).await,
        OrgCommand::Clock { advance } => clock(&org, advance).await,
        OrgCommand::Limits { max, used } => limits(&org, *max, *used).await,
        OrgCommand::History { after, limit } => history(&org, *after, *limit).await,
        OrgCommand::Events { topic, after, limit } => events(&org, topic.as_deref(), *after, *limit).await,
        OrgCommand::Reset { yes } => reset(&org, *yes).await,
    };
    done.unwrap_or_else(|problem| match problem.code.as_str() {
        "PS1010" => Answer { exit: Exit::Usage, ..Answer::failed(*problem) },
        _ => Answer::failed(*problem),
    })
}

impl Running {
    /// Makes a control request; `path` begins behind `/_sim`.
    pub(super) async fn control(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Box<Problem>> {
        let mut request = self.client.request(method, format!("{}/_sim{path}", self.url));
        if let Some(body) = body {
            request = request.json(body);
        }
        let failed = |error: reqwest::Error| Box::new(unreachable(&self.url, error.without_url().to_string()));
        let response = request.send().await.map_err(failed)?;
        let well = response.status().is_success();
        let text = response.text().await.map_err(failed)?;
        let answer: Value = serde_json::from_str(&text)
            .map_err(|_| Box::new(unreachable(&self.url, "what answered is not a simulated org".into())))?;
        if well {
            return Ok(answer);
        }
        let cause = answer["error"].as_str().unwrap_or(&text).to_owned();
        Err(usage(&format!("/_sim{path}"), cause, "docs/org-sim.md lists the control requests and their bodies"))
    }
}

fn unreachable(url: &str, cause: String) -> Problem {
    Problem {
        code: "PS7103".into(),
        place: url.to_owned(),
        cause,
        fix: "start one with `penstock org`, or name its address with --at".into(),
    }
}

pub(super) fn usage(place: &str, cause: String, fix: &str) -> Box<Problem> {
    Box::new(Problem { code: "PS1010".into(), place: place.into(), cause, fix: fix.into() })
}

async fn fault(org: &Running, command: &FaultCommand) -> Result<Answer, Box<Problem>> {
    match command {
        FaultCommand::List => {
            let answer = org.control(Method::GET, "/faults", None).await?;
            let rules = list(&answer, "faults");
            let rows = rules.iter().map(|rule| {
                let number = |name: &str| rule[name].as_u64().unwrap_or_default().to_string();
                vec![number("id"), brief(&rule["rule"]).to_string(), number("matched"), number("fired")]
            });
            let text = if rules.is_empty() { String::new() } else { table(&["id", "rule", "matched", "fired"], rows) };
            Ok(Answer::done(count(rules.len(), "fault rule"), text, answer))
        }
        FaultCommand::Add { rule } => {
            let rule: Value = serde_json::from_str(rule).map_err(|error| {
                usage(
                    "RULE",
                    format!("it is not JSON: {error}"),
                    r#"for example '{"effect": {"kind": "html503"}, "count": 1}'"#,
                )
            })?;
            let answer = org.control(Method::POST, "/faults", Some(&rule)).await?;
            Ok(Answer::done(format!("fault rule {} is in force", answer["id"]), "", answer))
        }
        FaultCommand::Clear { id } => {
            let path = id.map_or("/faults".to_owned(), |id| format!("/faults/{id}"));
            let answer = org.control(Method::DELETE, &path, None).await?;
            let removed = answer["removed"].as_u64().unwrap_or_default() as usize;
            Ok(Answer::done(format!("{} removed", count(removed, "fault rule")), "", answer))
        }
    }
}

/// A rule without what it leaves open.
fn brief(rule: &Value) -> Value {
    let Value::Object(members) = rule else { return rule.clone() };
    let told = members.iter().map(|(name, value)| (name.clone(), brief(value)));
    let open = |value: &Value| value.is_null() || *value == json!([]) || *value == json!({});
    Value::Object(told.filter(|(_, value)| !open(value)).collect())
}

async fn clock(org: &Running, advance: &str) -> Result<Answer, Box<Problem>> {
    let by = Time::parse(advance).map_err(|cause| usage("--advance", cause, "for example --advance 25h"))?;
    let answer = org.control(Method::POST, "/clock", Some(&json!({"advance_ms": by.0.as_millis() as u64}))).await?;
    let now_ms = answer["now_ms"].as_i64().unwrap_or_default();
    Ok(Answer::done(format!("the org's clock shows {}", moment(now_ms)), "", answer))
}

fn moment(ms: i64) -> String {
    let moment = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok();
    let text = moment.and_then(|moment| moment.format(&time::format_description::well_known::Rfc3339).ok());
    text.unwrap_or_else(|| format!("{ms} ms"))
}

async fn limits(org: &Running, max: Option<u64>, used: Option<u64>) -> Result<Answer, Box<Problem>> {
    let answer = match (max, used) {
        (None, None) => org.control(Method::GET, "/limits", None).await?,
        _ => org.control(Method::POST, "/limits", Some(&json!({"max": max, "used": used}))).await?,
    };
    let rows = answer.as_object().into_iter().flatten().filter_map(|(name, limit)| {
        let number = |part: &str| limit[part].as_u64();
        let (max, left) = (number("Max")?, number("Remaining")?);
        Some(vec![name.clone(), thousands(max), thousands(left), thousands(max.saturating_sub(left))])
    });
    let text = table(&["allocation", "max", "remaining", "used"], rows.collect::<Vec<_>>());
    Ok(Answer::done("", text, answer))
}

async fn history(org: &Running, after: u64, limit: usize) -> Result<Answer, Box<Problem>> {
    let answer = org.control(Method::GET, &format!("/history?after={after}&limit={limit}"), None).await?;
    let changes = list(&answer, "entries");
    let rows = changes.iter().map(|change| {
        let word = |name: &str| match &change[name] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        let changed: String = change["changes"].to_string().chars().take(100).collect();
        vec![
            word("seq"),
            moment(change["at"].as_i64().unwrap_or_default()),
            word("api"),
            word("client"),
            word("op"),
            word("object"),
            word("id"),
            word("external_id"),
            changed,
        ]
    });
    let header = ["seq", "at", "api", "client", "op", "object", "id", "external id", "changes"];
    let text = if changes.is_empty() { String::new() } else { table(&header, rows) };
    let more = match changes.last().and_then(|change| change["seq"].as_u64()) {
        Some(last) if changes.len() == limit => format!("; go on with --after {last}"),
        _ => String::new(),
    };
    Ok(Answer::done(format!("{}{more}", count(changes.len(), "change")), text, answer))
}

async fn events(org: &Running, topic: Option<&str>, after: u64, limit: usize) -> Result<Answer, Box<Problem>> {
    let Some(topic) = topic else {
        let answer = org.control(Method::GET, "/events", None).await?;
        let channels = list(&answer, "channels").iter().map(|channel| {
            let members: Vec<&str> = list(channel, "members").iter().filter_map(Value::as_str).collect();
            vec![channel["name"].as_str().unwrap_or_default().to_owned(), members.join(", ")]
        });
        let text = table(&["channel", "members"], channels.collect::<Vec<_>>());
        let kept = answer["events"].as_u64().unwrap_or_default();
        return Ok(Answer::done(format!("{} events are kept", thousands(kept)), text, answer));
    };
    let path = format!("/events?topic={topic}&after={after}&limit={limit}");
    let answer = org.control(Method::GET, &path, None).await?;
    let events = list(&answer, "events");
    let rows = events.iter().map(|event| {
        let payload: String = event["payload"].to_string().chars().take(120).collect();
        vec![event["replayId"].to_string(), event["id"].as_str().unwrap_or_default().to_owned(), payload]
    });
    let text = if events.is_empty() { String::new() } else { table(&["replay id", "id", "payload"], rows) };
    Ok(Answer::done(count(events.len(), "event"), text, answer))
}

async fn reset(org: &Running, yes: bool) -> Result<Answer, Box<Problem>> {
    if !yes {
        return Err(usage(
            "penstock org reset",
            "every record of the org would be gone".into(),
            "say --yes if that is meant",
        ));
    }
    let answer = org.control(Method::POST, "/reset", None).await?;
    Ok(Answer::done("records, history, faults and counts are gone", "", answer))
}

fn list<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer[name].as_array().map_or(&[], Vec::as_slice)
}
