//! One retry of a dead letter, from the look at what is newer to the entry in the index.

use super::answers::{Verdict, judge, judge_read_back};
use super::compose::map_record;
use super::error::EngineError;
use super::gate::CallEnd;
use super::group::Shared;
use super::permits::Pass;
use super::reader::whole_route;
use super::redrives::{Loaded, RedriveOutcome, settler_gone};
use super::retry::Jitter;
use super::route::{OrgPlace, Route};
use crate::dlq::{
    COMMAND_PREFIX, COMMAND_SPACE, DlqEntry, DlqStatus, Newer, entry_at, find, id_key, load as load_entry,
    parse_letter, put_entry, remaining,
};
use crate::event::{ChangeView, Keys};
use crate::mapping::{MappedRow, RowRefusal};
use crate::settle::{DEAD_LETTERS, internal};
use crate::spec::Ordering;
use contract::{LogError, OutBatch, OutColumn, OutRow, RowError, Spend, StateOp};
use hashbrown::HashSet;
use model::{
    BatchIntent, ErrorClass, Fingerprint, Lane, Offset, OffsetRange, Outcome, Position, Record, RecordBatchBuilder,
    Retry, SettledRows, Settlement,
};
use std::sync::Arc;
use std::time::Duration;

const READ_BYTES: usize = 1 << 20;
/// Sends of one retry where the policy has no limit of its own: a parent that is missing now may be missing for ever, and the
/// retries behind this one wait.
const RETRY_ATTEMPTS_MAX: u32 = 10;
/// The log no longer holds what came after the original.
const TRIMMED: &str = "PS5805";
/// The dead letter itself cannot be read.
const UNREADABLE: &str = "PS5804";

/// Reads a dead letter and tells its keys.
pub(super) async fn load(shared: &Shared, route: &Route, id: Offset) -> RedriveOutcome {
    match try_load(shared, route, id).await {
        Ok(loaded) => RedriveOutcome::Loaded(Box::new(loaded)),
        Err(error) => {
            let error = RowError {
                class: ErrorClass::Permanent,
                code: UNREADABLE.into(),
                message: error.to_string(),
                fields: Vec::new(),
            };
            match open_again(shared, id, error, 1).await {
                Ok(()) => RedriveOutcome::Refused,
                Err(error) => RedriveOutcome::Broken(error),
            }
        }
    }
}

async fn try_load(shared: &Shared, route: &Route, id: Offset) -> Result<Loaded, EngineError> {
    let batches = shared.carrier.log.read(&internal(DEAD_LETTERS), id, 1).await?;
    let record = find(&batches, id).ok_or_else(|| EngineError::Journal {
        place: format!("{DEAD_LETTERS}:{id}"),
        cause: "the log gave other records than were asked for".into(),
    })?;
    let letter = parse_letter(id, &record)?;
    let mut keys = Keys::default();
    let mut lane = Lane::Standard;
    if let Ok(view) = ChangeView::parse(&record) {
        lane = route.mapper().lane(&view).unwrap_or_default();
        if route.spec.ordering != Ordering::None {
            route.keys.keys(&view, &mut keys);
        }
        if route.spec.ordering == Ordering::Fifo {
            keys.written.push(whole_route(route));
        }
    }
    let mut copy = RecordBatchBuilder::default();
    let headers: Vec<(&str, &[u8])> =
        record.headers().filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value))).collect();
    copy.push(record.time_ms, record.key, record.value, &headers)
        .map_err(|full| EngineError::Journal { place: format!("{DEAD_LETTERS}:{id}"), cause: full.to_string() })?;
    let (writes, reads) = (keys.written, keys.read);
    Ok(Loaded { id, record: copy.finish(), origin: letter.position.offset, lane, writes, reads })
}

/// A retry whose turn has come.
pub(super) struct RedriveJob {
    pub shared: Arc<Shared>,
    pub route: Arc<Route>,
    /// The routes of the group, this one included.
    pub related: Vec<Arc<Route>>,
    pub loaded: Loaded,
    /// Everything below was read when it entered the window, and is settled now as far as it matters.
    pub until: Offset,
    pub failures: u32,
    /// How long a call without an answer may still be under way in the target.
    pub grace: Duration,
    pub pass: Pass,
    /// Held until it ends.
    pub _place: OrgPlace,
    /// Calls spent so far.
    pub spent: Spend,
}

/// Why a retry ends before it reaches the target.
enum Stop {
    Refused(RowError),
    Broken(EngineError),
}

impl<E: Into<EngineError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Broken(error.into())
    }
}

impl RedriveJob {
    /// Carries the retry as far as it goes.
    pub(super) async fn run(mut self) -> RedriveOutcome {
        let attempted = self.attempt().await;
        let spent = self.spent;
        let outcome = match attempted {
            Ok(outcome) => outcome,
            Err(Stop::Refused(error)) => self.failed(error).await,
            Err(Stop::Broken(error)) => match error.retry() {
                Retry::After(delay) => RedriveOutcome::Later { delay, failed: false, error: Some(error.to_string()) },
                Retry::AfterOperator | Retry::Never => RedriveOutcome::Broken(error),
            },
        };
        self.pass.finish(spent);
        outcome
    }

    async fn attempt(&mut self) -> Result<RedriveOutcome, Stop> {
        let entry = match load_entry(&*self.shared.state, self.loaded.id).await? {
            Some((entry, _)) if entry.status == DlqStatus::Retried => entry,
            _ => {
                self.shared.state.write(vec![forget_command(self.loaded.id)]).await?;
                return Ok(RedriveOutcome::Refused);
            }
        };
        let Some(row) = self.row()? else { return self.settle(Outcome::Filtered, None).await };
        let mapper = self.route.mapper();
        let columns = mapper.columns();
        let newer = self.newer(&row).await?;
        let newer: Vec<Newer<'_>> = newer.iter().map(|(columns, row)| Newer { columns, row: row.clone() }).collect();
        let Some(row) = remaining(row, &columns, &newer) else { return self.settle(Outcome::Superseded, None).await };
        let batch = self.batch(row, columns);
        if let Some(sent_at_ms) = entry.sent_at_ms {
            // The request of a process that died may still be under way in the target.
            let grace = self.grace;
            let left_ms = sent_at_ms + grace.as_millis() as i64 - self.shared.now_ms();
            if left_ms > 0 {
                let delay = grace.min(Duration::from_millis(left_ms as u64));
                return Ok(RedriveOutcome::Later { delay, failed: false, error: None });
            }
            let answer = self.route.org.sink.read_back(&batch).await;
            self.spent += answer.as_ref().map_or_else(|error| error.spent, |(_, calls)| Spend::calls(*calls));
            let (verdicts, _) = judge_read_back(1, &answer);
            match verdicts.into_iter().next() {
                Some(Verdict::Applied { id }) => return self.settle(Outcome::Applied, Some((&batch, id, true))).await,
                Some(Verdict::Missing) => {}
                Some(Verdict::Dead(error)) => return Err(Stop::Refused(error)),
                _ => return Ok(self.later(answer.err().map(|error| error.to_string()), false)),
            }
        }
        self.send(entry, batch).await
    }

    /// The dead letter as a row; none when the route's filter leaves it out now.
    fn row(&self) -> Result<Option<MappedRow>, Stop> {
        let record = self.loaded.record.iter().next();
        let record = record.expect("a loaded dead letter holds one record");
        let mapper = self.route.mapper();
        if let Ok(view) = ChangeView::parse(&record)
            && let Ok(false) = mapper.passes(&view)
        {
            return Ok(None);
        }
        map_record(&mapper, &record).map(Some).map_err(|refusal| Stop::Refused(refused(refusal)))
    }

    /// The applied records of the same target row that stand behind the original.
    async fn newer(&self, row: &MappedRow) -> Result<Vec<(Arc<[OutColumn]>, MappedRow)>, Stop> {
        let (log, stream) = (&*self.shared.carrier.log, &self.route.spec.stream);
        let wanted: HashSet<Fingerprint> = self.loaded.writes.iter().copied().collect();
        let (mut found, mut at, mut keys) = (Vec::new(), self.loaded.origin.plus(1), Keys::default());
        while at < self.until {
            let batches = match log.read(stream, at, READ_BYTES).await {
                Err(LogError::OutOfRange { start, .. }) if start > at => {
                    return Err(Stop::Refused(RowError {
                        class: ErrorClass::Permanent,
                        code: TRIMMED.into(),
                        message: format!(
                            "the log begins at offset {start} now: whether something newer than offset {} was applied \
                             cannot be told; touch the row in the source instead",
                            self.loaded.origin
                        ),
                        fields: Vec::new(),
                    }));
                }
                read => read?,
            };
            let mut candidates: Vec<(usize, Offset, MappedRow)> = Vec::new();
            for batch in &batches {
                let skip = at.0.saturating_sub(batch.base.0) as usize;
                for (offset, record) in (batch.base.0..self.until.0).map(Offset).zip(&batch.records).skip(skip) {
                    self.candidates((offset, &record), (row, &wanted), &mut keys, &mut candidates);
                }
                at = batch.end();
            }
            for (route, offset, row) in candidates {
                let route = &self.related[route];
                let position = Position { partition: stream.partition, offset };
                let entry = entry_at(&*self.shared.state, &route.spec.id, position).await?;
                // One that is a dead letter itself was not applied.
                if entry.is_none_or(|entry| entry.status == DlqStatus::Resolved) {
                    found.push((route.mapper().columns(), row));
                }
            }
        }
        Ok(found)
    }

    /// Adds what the record writes to the same target row, for each route.
    fn candidates(
        &self,
        (offset, record): (Offset, &Record<'_>),
        (row, wanted): (&MappedRow, &HashSet<Fingerprint>),
        keys: &mut Keys,
        found: &mut Vec<(usize, Offset, MappedRow)>,
    ) {
        for (index, route) in self.related.iter().enumerate() {
            let same_object = route.spec.object.as_str().eq_ignore_ascii_case(self.route.spec.object.as_str());
            if !same_object || !route.keys.takes(record) {
                continue;
            }
            let Ok(view) = ChangeView::parse(record) else { continue };
            route.keys.keys(&view, keys);
            let mapper = route.mapper();
            let mapped = || mapper.passes(&view).ok().filter(|passes| *passes).and_then(|_| mapper.map(&view).ok());
            if keys.written.iter().any(|key| wanted.contains(key))
                && let Some(mapped) = mapped()
                && same_key(&self.route, &mapped, row)
            {
                found.push((index, offset, mapped));
            }
        }
    }

    fn batch(&self, row: MappedRow, columns: Arc<[OutColumn]>) -> OutBatch {
        let spec = &self.route.spec;
        let position = Position { partition: spec.stream.partition, offset: self.loaded.origin };
        OutBatch {
            id: self.shared.carrier.next_id(),
            api: self.route.single_api(),
            route: spec.id.clone(),
            lane: self.loaded.lane,
            object: spec.object.clone(),
            op: row.op,
            external_id: spec.external_id.as_deref().map(Arc::from),
            position_field: spec.position_field.as_deref().map(Arc::from),
            columns: if row.cells.is_empty() { Arc::from([]) } else { columns },
            rows: vec![OutRow { position, key: row.key, cells: row.cells }],
        }
    }

    async fn send(&mut self, mut entry: DlqEntry, batch: OutBatch) -> Result<RedriveOutcome, Stop> {
        let shared = self.shared.clone();
        let carrier = &shared.carrier;
        // From here on a crash leaves it open whether the target has it: the next run reads back.
        entry.sent_at_ms = Some(self.shared.now_ms());
        self.shared.state.write(put_entry(&entry).into()).await?;
        let spec = &self.route.spec;
        let intent = BatchIntent {
            batch: batch.id,
            route: spec.id.clone(),
            stream: spec.stream.stream.clone(),
            partition: spec.stream.partition,
            object: spec.object.clone(),
            api: batch.api.as_str().to_owned(),
            offsets: OffsetRange::pack([self.loaded.origin]),
            attempt: entry.attempts + 1,
            at_ms: self.shared.now_ms(),
            job: None,
            reason: None,
        };
        carrier.journal.write(&[intent]).await?;
        carrier.crash.reach(contract::CrashPoint::AfterJournal);
        let answer = self.route.org.sink.apply(&batch).await;
        self.route.org.report(batch.api, CallEnd::of(&answer), self.shared.now());
        self.spent += answer.as_ref().map_or_else(|error| error.spent, |applied| applied.spent);
        carrier.crash.reach(contract::CrashPoint::AfterSend);
        self.route.org.permits.observe(self.route.org.sink.take_readings());
        let (verdicts, _) = judge(1, &answer);
        let verdict = verdicts.into_iter().next().unwrap_or(Verdict::Return);
        Ok(match verdict {
            Verdict::Applied { id } => return self.settle(Outcome::Applied, Some((&batch, id, false))).await,
            Verdict::Dead(error) | Verdict::Refresh(error) => return Err(Stop::Refused(error)),
            Verdict::Again { error, .. } | Verdict::Parent(error) => {
                let policy = spec.retry.policy(error.class).unwrap_or(&spec.retry.transient);
                if self.failures + 1 >= policy.attempts_max.min(RETRY_ATTEMPTS_MAX) {
                    return Err(Stop::Refused(error));
                }
                self.later(Some(format!("{}: {}", error.code, error.message)), true)
            }
            Verdict::Suspect => RedriveOutcome::Later {
                delay: self.grace,
                failed: true,
                error: answer.err().map(|error| error.to_string()),
            },
            Verdict::Return | Verdict::Missing | Verdict::Halve => {
                self.later(answer.err().map(|error| error.to_string()), false)
            }
        })
    }

    fn later(&self, error: Option<String>, failed: bool) -> RedriveOutcome {
        let mut jitter = Jitter::new(self.loaded.id.0 ^ u64::from(self.failures));
        let delay = jitter.backoff(&self.route.spec.retry.transient, self.failures + 1);
        RedriveOutcome::Later { delay, failed, error }
    }

    /// Writes down how it ended: the settlement first, then the index; a crash between the two repeats the retry, which then finds
    /// the target as it should be.
    async fn settle(
        &self,
        outcome: Outcome,
        applied: Option<(&OutBatch, Option<Arc<str>>, bool)>,
    ) -> Result<RedriveOutcome, Stop> {
        let spec = &self.route.spec;
        let (batch, id, read_back) = match applied {
            Some((batch, id, read_back)) => (Some(batch.id), id, read_back),
            None => (None, None, false),
        };
        let settlement = Settlement {
            route: spec.id.clone(),
            stream: spec.stream.stream.clone(),
            partition: spec.stream.partition,
            batch,
            at_ms: self.shared.now_ms(),
            attempts: self.failures + 1,
            read_back,
            calls: self.spent.calls,
            rows: vec![SettledRows {
                outcome,
                offsets: OffsetRange::pack([self.loaded.origin]),
                target_ids: id.iter().map(|id| id.to_string()).collect(),
                by: None,
                code: Some(format!("dlq:{}", self.loaded.id)),
            }],
        };
        self.shared.settler.order(vec![settlement], true).await.map_err(|_| Stop::Broken(settler_gone()))?;
        let word = match outcome {
            Outcome::Applied => "applied",
            Outcome::Superseded => "superseded: newer records of the row carry all of its columns",
            Outcome::Filtered => "filtered: the route leaves it out now",
            Outcome::DeadLettered => "dead letter",
        };
        self.decide(DlqStatus::Resolved, word.to_owned(), |_| {}).await?;
        Ok(RedriveOutcome::Settled(outcome))
    }

    async fn failed(&self, error: RowError) -> RedriveOutcome {
        match open_again(&self.shared, self.loaded.id, error, self.failures + 1).await {
            Ok(()) => RedriveOutcome::Failed,
            Err(error) => match error.retry() {
                Retry::After(delay) => RedriveOutcome::Later { delay, failed: false, error: Some(error.to_string()) },
                Retry::AfterOperator | Retry::Never => RedriveOutcome::Broken(error),
            },
        }
    }

    async fn decide(
        &self,
        status: DlqStatus,
        result: String,
        change: impl FnOnce(&mut DlqEntry),
    ) -> Result<(), EngineError> {
        decide(&self.shared, self.loaded.id, status, result, change).await
    }
}

/// Stores a decision and takes the command away, in one write.
async fn decide(
    shared: &Shared,
    id: Offset,
    status: DlqStatus,
    result: String,
    change: impl FnOnce(&mut DlqEntry),
) -> Result<(), EngineError> {
    let mut ops = vec![forget_command(id)];
    if let Some((mut entry, _)) = load_entry(&*shared.state, id).await? {
        entry.status = status;
        entry.result = Some(result);
        entry.sent_at_ms = None;
        change(&mut entry);
        ops.extend(put_entry(&entry));
    }
    Ok(shared.state.write(ops).await?)
}

/// The retry failed: it is a dead letter as before, with the newer reason.
async fn open_again(shared: &Shared, id: Offset, error: RowError, attempts: u32) -> Result<(), EngineError> {
    let result = format!("the retry failed: {}: {}", error.code, error.message);
    decide(shared, id, DlqStatus::Open, result, |entry| {
        entry.class = error.class;
        entry.code = error.code;
        entry.message = error.message;
        entry.attempts += attempts;
    })
    .await
}

fn forget_command(id: Offset) -> StateOp {
    StateOp::Delete { space: COMMAND_SPACE, key: format!("{COMMAND_PREFIX}{}", id_key(id)) }
}

fn refused(refusal: RowRefusal) -> RowError {
    let fields = refusal.field.iter().map(|field| field.to_string()).collect();
    RowError { class: ErrorClass::Permanent, code: refusal.code.0.to_owned(), message: refusal.message, fields }
}

/// True when both rows are one row of the target.
fn same_key(route: &Route, a: &MappedRow, b: &MappedRow) -> bool {
    match (target_key(route, a), target_key(route, b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

fn target_key(route: &Route, row: &MappedRow) -> Option<Fingerprint> {
    let text = match row.key.as_ref()? {
        model::FieldValue::Text(text) => text.to_string(),
        model::FieldValue::Number(number) => number.as_str().to_owned(),
        model::FieldValue::Bool(flag) => flag.to_string(),
    };
    Some(route.keys.fingerprint_of_target(&text))
}
