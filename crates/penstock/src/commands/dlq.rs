//! `penstock dlq list|show|retry|drop|acts`.

mod choice;
mod view;

use super::opened::{Opened, open, problem};
use crate::cli::{DlqChoice, DlqCommand, DlqRetryArgs};
use crate::operator::operator;
use crate::output::{Answer, Exit, Problem, count};
use crate::running;
use crate::wiring::DataDir;
use choice::{Chosen, Refused};
use model::{Lane, Offset};
use pipeline::dlq::{self, Decision, DlqError, DlqStatus, Operator, RetryOptions};
use serde_json::json;
use std::path::Path;
pub(crate) use view::deed;

/// Why a command was not carried out.
enum Failed {
    Usage(Refused),
    Dlq(DlqError),
}

impl From<DlqError> for Failed {
    fn from(error: DlqError) -> Self {
        Self::Dlq(error)
    }
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        Self::Usage(refused)
    }
}

/// Runs a command on the dead letters.
pub async fn run(config_file: &Path, command: &DlqCommand) -> Answer {
    let write = matches!(command, DlqCommand::Retry(_) | DlqCommand::Drop { .. });
    let opened = match open(config_file, write) {
        Ok(opened) => opened,
        Err(answer) => return *answer,
    };
    let done = match command {
        DlqCommand::List { choice, all, limit } => list(&opened, choice, *all, *limit).await,
        DlqCommand::Show { id } => show(&opened, *id).await,
        DlqCommand::Retry(args) => retry(&opened, args).await,
        DlqCommand::Drop { ids, all, choice, reason, yes } => {
            drop_them(&opened, (ids, *all, choice), reason.as_deref(), *yes).await
        }
        DlqCommand::Acts { id, limit } => acts(&opened, *id, *limit).await,
    };
    match done {
        Ok(answer) => answer,
        Err(Failed::Dlq(error)) => Answer::failed(problem(error.code(), "dlq", &error)),
        Err(Failed::Usage(Refused { cause, fix })) => {
            let problem = Problem { code: "PS1010".into(), place: "penstock dlq".into(), cause, fix };
            Answer { exit: Exit::Usage, ..Answer::failed(problem) }
        }
    }
}

async fn list(opened: &Opened, choice: &DlqChoice, all: bool, limit: usize) -> Result<Answer, Failed> {
    let mut filter = choice::filter(choice, operator(None).at_ms)?;
    filter.status = (!all).then_some(DlqStatus::Open);
    let entries = dlq::list(&*opened.state, &filter, limit).await?;
    let entries: Vec<_> = entries.into_iter().map(|entry| view::redacted(opened, entry)).collect();
    let word = if all { "dead letter" } else { "open dead letter" };
    let mut summary = count(entries.len(), word);
    if entries.len() == limit {
        summary.push_str("; there may be more (--limit)");
    }
    Ok(Answer::done(summary, view::entries(&entries), json!({"dead_letters": entries})))
}

async fn show(opened: &Opened, id: u64) -> Result<Answer, Failed> {
    let shown = view::show(opened, Offset(id)).await?;
    let acts = acts_of(opened, Offset(id)).await?;
    let fix = format!("retry: penstock dlq retry {id}    give up: penstock dlq drop {id} --reason … --yes");
    Ok(Answer::done(fix, view::letter(&shown, &acts), view::to_json(&shown, &acts)))
}

async fn acts_of(opened: &Opened, id: Offset) -> Result<Vec<dlq::Act>, Failed> {
    Ok(dlq::acts(&*opened.state, usize::MAX, |act| act.concerns(id)).await.map_err(DlqError::from)?)
}

async fn acts(opened: &Opened, id: Option<u64>, limit: usize) -> Result<Answer, Failed> {
    let takes = |act: &dlq::Act| id.is_none_or(|id| act.concerns(Offset(id)));
    let found = dlq::acts(&*opened.state, limit, takes).await.map_err(DlqError::from)?;
    Ok(Answer::done(count(found.len(), "act"), view::acts(&found), json!({"acts": found})))
}

async fn retry(opened: &Opened, args: &DlqRetryArgs) -> Result<Answer, Failed> {
    let rate = args.rate.as_deref().map(choice::rate).transpose()?;
    let lane = Lane::from_word(&args.lane)
        .ok_or_else(|| Refused::new(format!("{:?} is no lane", args.lane), "write critical, standard or bulk"))?;
    let by = operator(args.reason.clone());
    let chosen = choice::chosen(&args.ids, args.all, &args.choice, by.at_ms)?;
    if !args.set.is_empty() {
        let Chosen::Ids(ids) = &chosen else {
            return Err(Refused::new("--set edits one dead letter", "name its id").into());
        };
        edit(opened, ids, &args.set, &by).await?;
    }
    let decision = Decision::Retry(RetryOptions { lane, rate });
    let decided = carry_out(opened, &chosen, &decision, &by).await?;
    let running = running::find(&DataDir::new(&opened.config.data_dir)).is_some();
    let when =
        if running { "the running pipeline takes them within a second" } else { "the next `penstock run` takes them" };
    let summary = format!("{} will be sent again: {when}", count(decided as usize, "dead letter"));
    Ok(Answer::done(summary, "", json!({"retried": decided, "running": running, "by": by.who})))
}

async fn edit(opened: &Opened, ids: &[Offset], set: &[String], by: &Operator) -> Result<(), Failed> {
    let [id] = ids else { return Err(Refused::new("--set edits one dead letter", "name one id").into()) };
    let mut values = Vec::new();
    for written in set {
        let (column, text) = written
            .split_once('=')
            .ok_or_else(|| Refused::new(format!("{written:?} is no edit"), "write --set column=value"))?;
        values.push((column.to_owned(), text.to_owned()));
    }
    let key = view::key_of(opened, *id).await?;
    Ok(dlq::edit(&*opened.log, &*opened.state, *id, (&values, &key), by).await?)
}

async fn drop_them(
    opened: &Opened,
    (ids, all, choice): (&[u64], bool, &DlqChoice),
    reason: Option<&str>,
    yes: bool,
) -> Result<Answer, Failed> {
    let Some(reason) = reason.map(str::trim).filter(|reason| !reason.is_empty()) else {
        return Err(Refused::new("a drop needs its reason", "say --reason TEXT").into());
    };
    if !yes {
        return Err(Refused::new("what is dropped is not sent any more", "say --yes if that is meant").into());
    }
    let by = operator(Some(reason.to_owned()));
    let chosen = choice::chosen(ids, all, choice, by.at_ms)?;
    let decided = carry_out(opened, &chosen, &Decision::Drop, &by).await?;
    Ok(Answer::done(
        format!("{} given up", count(decided as usize, "dead letter")),
        "",
        json!({"dropped": decided, "by": by.who}),
    ))
}

async fn carry_out(opened: &Opened, chosen: &Chosen, decision: &Decision, by: &Operator) -> Result<u64, DlqError> {
    match chosen {
        Chosen::Ids(ids) => dlq::decide(&*opened.state, ids, decision, by).await,
        Chosen::Filter(filter) => dlq::decide_all(&*opened.state, filter, decision, by).await,
    }
}
