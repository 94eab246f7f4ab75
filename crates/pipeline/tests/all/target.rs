//! A target that keeps rows and a history, and fails as it is told.

use super::bulk::{JobState, Jobs};
use super::memory::Life;
use async_trait::async_trait;
use contract::{
    Adopted, AllocationReading, AppliedBatch, FieldKind, FieldSchema, JobHost, ObjectSchema, OutBatch, OutOp, OutRow,
    ReadBack, RowError, RowResult, Sink, SinkError, SinkLimits, Spend,
};
use model::{Api, Cell, ErrorClass, ErrorCode, FieldValue, Finding, Lane, ObjectName};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;

pub type Fields = BTreeMap<String, Option<String>>;

/// Object and key.
pub type Place = (String, String);

/// One effect on the target, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    pub object: String,
    pub key: String,
    pub op: OutOp,
    /// What was written; a null is `None`.
    pub fields: Fields,
    pub lane: Lane,
}

/// What a script does with a batch before the target does anything.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The whole call fails, nothing is applied.
    Fail(ErrorClass, Option<&'static str>),
    /// Everything is applied, and the answer is lost.
    LoseAnswer,
    /// These rows (by key) fail with a class and code; the others are applied.
    Rows(Vec<(String, ErrorClass, &'static str)>),
    /// Every row fails with this class, code and message.
    Quote(ErrorClass, &'static str, String),
    /// Applied, but only after this time.
    Late(Duration),
}

type Script = Box<dyn FnMut(&OutBatch) -> Option<Fault> + Send>;

/// The target; outlives the engine.
pub struct Target {
    pub rows: Mutex<BTreeMap<(String, String), Fields>>,
    pub history: Mutex<Vec<Effect>>,
    pub batches: Mutex<Vec<(OutOp, Vec<String>)>>,
    pub read_backs: AtomicUsize,
    pub forgotten: AtomicUsize,
    script: Mutex<Option<Script>>,
    pub changed: watch::Sender<u64>,
    /// Batches that have come so far, answered or not.
    pub arrived: watch::Sender<u64>,
    pub limits: Mutex<SinkLimits>,
    /// Batches wait here while it is false.
    pub open: watch::Sender<bool>,
    in_flight: Mutex<Vec<(String, String)>>,
    pub jobs: Jobs,
    /// When set, a batch's rows lock their parents: whoever comes meanwhile fails.
    pub locks: AtomicBool,
    locked: Mutex<Vec<String>>,
    pub lock_errors: AtomicUsize,
    /// What a job takes; none: the target has no jobs.
    pub job_limits: Mutex<Option<SinkLimits>>,
    /// What is applied as one; none: the target has no graph.
    pub graph_limits: Mutex<Option<SinkLimits>>,
    /// What came together: object and key of each row, whether it was applied or not.
    pub together: Mutex<Vec<(Vec<Place>, bool)>>,
    pub objects: BTreeMap<String, ObjectSchema>,
}

pub fn field(name: &str, kind: FieldKind) -> FieldSchema {
    FieldSchema {
        name: name.into(),
        kind,
        length: 255,
        precision: 18,
        scale: 0,
        nillable: true,
        defaulted_on_create: false,
        createable: true,
        updateable: true,
        external_id: true,
        id_lookup: true,
        unique: true,
        case_sensitive: false,
        calculated: false,
        reference_to: Vec::new(),
        relationship_name: None,
        picklist: Vec::new(),
        picklist_restricted: false,
        master_detail: false,
    }
}

impl Target {
    pub fn new() -> Arc<Self> {
        let object = |name: &str, parent: Option<&str>| {
            let mut fields = vec![
                field("Key__c", FieldKind::Text),
                field("V__c", FieldKind::Double),
                field("Note__c", FieldKind::Text),
            ];
            if let Some(parent) = parent {
                let mut lookup = field("Parent__c", FieldKind::Reference);
                lookup.external_id = false;
                lookup.reference_to = vec![parent.into()];
                lookup.relationship_name = Some("Parent__r".into());
                fields.push(lookup);
            }
            let schema = ObjectSchema {
                name: name.into(),
                createable: true,
                updateable: true,
                deletable: true,
                queryable: true,
                fields,
            };
            (name.to_owned(), schema)
        };
        Arc::new(Self {
            rows: Mutex::default(),
            history: Mutex::default(),
            batches: Mutex::default(),
            read_backs: AtomicUsize::new(0),
            forgotten: AtomicUsize::new(0),
            script: Mutex::default(),
            changed: watch::Sender::new(0),
            arrived: watch::Sender::new(0),
            limits: Mutex::new(SinkLimits { rows_max: 200, bytes_max: 1 << 20, in_flight_max: 8 }),
            open: watch::Sender::new(true),
            in_flight: Mutex::default(),
            jobs: Jobs::default(),
            locks: AtomicBool::new(false),
            locked: Mutex::default(),
            lock_errors: AtomicUsize::new(0),
            job_limits: Mutex::default(),
            graph_limits: Mutex::default(),
            together: Mutex::default(),
            objects: [
                object("Item__c", None),
                object("Parent__c", None),
                object("Other__c", None),
                object("Child__c", Some("Parent__c")),
            ]
            .into(),
        })
    }

    /// Says what happens to batches from now on.
    pub fn script(&self, script: impl FnMut(&OutBatch) -> Option<Fault> + Send + 'static) {
        *self.script.lock() = Some(Box::new(script));
    }

    /// The `V__c` values that a key had, in order; a delete is `None`.
    pub fn values(&self, object: &str, key: &str) -> Vec<Option<i64>> {
        let history = self.history.lock();
        let of_key = history.iter().filter(|effect| effect.object == object && effect.key == key);
        of_key
            .filter_map(|effect| match effect.op {
                OutOp::Delete => Some(None),
                _ => effect.fields.get("V__c").map(|v| v.as_ref().map(|v| v.parse().unwrap())),
            })
            .collect()
    }

    pub fn row(&self, object: &str, key: &str) -> Option<Fields> {
        self.rows.lock().get(&(object.to_owned(), key.to_owned())).cloned()
    }

    /// Locks the parents of a batch's rows; the rows whose parents another batch holds are the second list.
    fn lock(&self, batch: &OutBatch) -> (Vec<String>, Vec<usize>) {
        let (mut mine, mut blocked) = (Vec::new(), Vec::new());
        if !self.locks.load(Ordering::Relaxed) {
            return (mine, blocked);
        }
        let mut locked = self.locked.lock();
        for (at, row) in batch.rows.iter().enumerate() {
            let parents = batch.columns.iter().zip(&row.cells).filter_map(|(column, cell)| match cell {
                Cell::Value(value) => column.reference.as_ref().map(|_| text(value)),
                _ => None,
            });
            for parent in parents {
                match locked.contains(&parent) {
                    true if mine.contains(&parent) => {}
                    true => blocked.push(at),
                    false => {
                        locked.push(parent.clone());
                        mine.push(parent);
                    }
                }
            }
        }
        self.lock_errors.fetch_add(blocked.len(), Ordering::Relaxed);
        (mine, blocked)
    }

    /// Asks the script what happens with a batch.
    pub fn run_script(&self, batch: &OutBatch) -> Option<Fault> {
        self.script.lock().as_mut().and_then(|script| script(batch))
    }

    /// Applies a row unless the script lets it fail.
    pub fn answer(&self, batch: &OutBatch, row: &OutRow, fault: &Option<Fault>) -> RowResult {
        let key = row.key.as_ref().map(text).unwrap_or_default();
        if let Some(Fault::Quote(class, code, message)) = fault {
            let error = RowError { class: *class, code: (*code).into(), message: message.clone(), fields: vec![] };
            return RowResult::Failed(error);
        }
        let Some(Fault::Rows(rows)) = fault else { return self.apply_row(batch, row) };
        match rows.iter().find(|(failing, _, _)| *failing == key) {
            Some((_, class, code)) => failed(*class, code),
            None => self.apply_row(batch, row),
        }
    }

    /// Applies all rows or none.
    fn answer_together(&self, parts: &[OutBatch], fault: &Option<Fault>) -> Vec<AppliedBatch> {
        let (rows, effects) = (self.rows.lock().clone(), self.history.lock().len());
        let answer = |part: &OutBatch| part.rows.iter().map(|row| self.answer(part, row, fault)).collect::<Vec<_>>();
        let mut answers: Vec<Vec<RowResult>> = parts.iter().map(answer).collect();
        let whole = answers.iter().flatten().all(|row| matches!(row, RowResult::Applied { .. }));
        if !whole {
            *self.rows.lock() = rows;
            self.history.lock().truncate(effects);
            for row in answers.iter_mut().flatten() {
                if let RowResult::Applied { .. } = row {
                    *row = failed(ErrorClass::Collateral, "PROCESSING_HALTED");
                }
            }
        }
        let places = parts.iter().flat_map(|part| part.rows.iter().map(|row| place(part, row)));
        self.together.lock().push((places.collect(), whole));
        let spent = |at: usize| Spend::calls(u32::from(at == 0));
        answers.into_iter().enumerate().map(|(at, rows)| AppliedBatch { rows, spent: spent(at) }).collect()
    }

    fn apply_row(&self, batch: &OutBatch, row: &OutRow) -> RowResult {
        let object = batch.object.as_str().to_owned();
        let key = text(row.key.as_ref().unwrap());
        let mut fields = Fields::new();
        for (column, cell) in batch.columns.iter().zip(&row.cells) {
            let value = match cell {
                Cell::Unchanged => continue,
                Cell::Null => None,
                Cell::Value(value) => Some(text(value)),
            };
            if let (Some(reference), Some(parent)) = (&column.reference, &value) {
                let parent = (reference.object.as_str().to_owned(), parent.clone());
                if !self.rows.lock().contains_key(&parent) {
                    return failed(ErrorClass::ParentMissing, "INVALID_FIELD_PARENT");
                }
            }
            fields.insert(column.field.to_string(), value);
        }
        let mut rows = self.rows.lock();
        let place = (object.clone(), key.clone());
        match batch.op {
            OutOp::Delete => drop(rows.remove(&place)),
            _ => rows.entry(place).or_default().extend(fields.clone()),
        }
        let id = id_of(&key);
        self.history.lock().push(Effect { object, key, op: batch.op, fields, lane: batch.lane });
        RowResult::Applied { id: Some(id.into()), created: false }
    }
}

/// The target's id of the record of a key.
pub fn id_of(key: &str) -> String {
    format!("a00{key:0>12}")
}

fn place(batch: &OutBatch, row: &OutRow) -> (String, String) {
    (batch.object.as_str().to_owned(), row.key.as_ref().map(text).unwrap_or_default())
}

pub fn failed(class: ErrorClass, code: &str) -> RowResult {
    RowResult::Failed(RowError { class, code: code.into(), message: "scripted".into(), fields: vec![] })
}

pub fn text(value: &FieldValue) -> String {
    match value {
        FieldValue::Text(text) => text.to_string(),
        FieldValue::Number(number) => number.as_str().to_owned(),
        FieldValue::Bool(flag) => flag.to_string(),
    }
}

/// The target as one life reaches it.
pub struct TargetSink {
    pub target: Arc<Target>,
    pub life: Life,
}

fn sink_error(class: ErrorClass, code: Option<&'static str>) -> SinkError {
    SinkError {
        code: ErrorCode("PS4001"),
        class,
        place: "test".into(),
        message: "scripted".into(),
        target_code: code.map(str::to_owned),
        retry_after: (class == ErrorClass::Quota).then_some(Duration::from_millis(100)),
        spent: Spend::calls(1),
    }
}

#[async_trait]
impl Sink for TargetSink {
    async fn check(&self) -> Vec<Finding> {
        Vec::new()
    }

    async fn describe(&self, object: &ObjectName) -> Result<Arc<ObjectSchema>, SinkError> {
        let found = self.target.objects.get(object.as_str());
        found.cloned().map(Arc::new).ok_or_else(|| sink_error(ErrorClass::Permanent, Some("NOT_FOUND")))
    }

    fn forget(&self, _object: &ObjectName) {
        self.target.forgotten.fetch_add(1, Ordering::Relaxed);
    }

    fn limits(&self, api: Api) -> Option<SinkLimits> {
        match api {
            Api::Collections => Some(*self.target.limits.lock()),
            Api::Bulk => *self.target.job_limits.lock(),
            Api::Graph => *self.target.graph_limits.lock(),
            _ => None,
        }
    }

    fn carries(&self, _api: Api, row: &OutRow) -> bool {
        row.cells.iter().all(|cell| !matches!(cell, Cell::Value(FieldValue::Text(text)) if &**text == "#N/A"))
    }

    async fn apply_job(&self, batch: OutBatch, host: &dyn JobHost) -> Result<AppliedBatch, SinkError> {
        self.carry_job(batch, host).await
    }

    async fn adopt(&self, batch: &OutBatch, job: &str) -> Result<Adopted, SinkError> {
        self.adopt_job(batch, job).await
    }

    async fn close_leftovers(&self, _: &[ObjectName], _: i64, known: &[String]) -> Result<usize, SinkError> {
        self.life.check().await;
        *self.target.jobs.looked.lock() += 1;
        let mut closed = 0;
        for (job, state) in self.target.jobs.states.lock().iter_mut() {
            if *state == JobState::Open && !known.contains(job) {
                *state = JobState::Aborted;
                closed += 1;
            }
        }
        Ok(closed)
    }

    async fn apply(&self, batch: &OutBatch) -> Result<AppliedBatch, SinkError> {
        self.life.check().await;
        let target = &self.target;
        let keys: Vec<String> = batch.rows.iter().map(|row| row.key.as_ref().map(text).unwrap_or_default()).collect();
        {
            // The promise of the window: no key is in flight twice.
            let mut in_flight = target.in_flight.lock();
            for key in &keys {
                let place = (batch.object.as_str().to_owned(), key.clone());
                assert!(!in_flight.contains(&place), "{place:?} is in flight twice");
                in_flight.push(place);
            }
        }
        target.arrived.send_modify(|batches| *batches += 1);
        let guard = InFlight { target: target.clone(), object: batch.object.as_str().to_owned(), keys: keys.clone() };
        let _ = target.open.subscribe().wait_for(|open| *open).await;
        let fault = target.run_script(batch);
        target.batches.lock().push((batch.op, keys.clone()));
        let apply_all = || batch.rows.iter().map(|row| target.apply_row(batch, row)).collect::<Vec<_>>();
        let (mine, blocked) = target.lock(batch);
        if target.locks.load(Ordering::Relaxed) {
            // Long enough for others to come.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let _unlock = Unlock { target: target.clone(), mine };
        let answer = match &fault {
            None if !blocked.is_empty() => {
                let results = batch.rows.iter().enumerate().map(|(at, row)| match blocked.contains(&at) {
                    true => failed(ErrorClass::Lock, "UNABLE_TO_LOCK_ROW"),
                    false => target.apply_row(batch, row),
                });
                Ok(AppliedBatch { rows: results.collect(), spent: Spend::calls(1) })
            }
            None => Ok(AppliedBatch { rows: apply_all(), spent: Spend::calls(1) }),
            Some(Fault::Fail(class, code)) => Err(sink_error(*class, *code)),
            Some(Fault::LoseAnswer) => {
                apply_all();
                Err(sink_error(ErrorClass::Unknown, None))
            }
            Some(Fault::Late(delay)) => {
                tokio::time::sleep(*delay).await;
                Ok(AppliedBatch { rows: apply_all(), spent: Spend::calls(1) })
            }
            Some(Fault::Quote(class, code, message)) => {
                let error = RowError { class: *class, code: (*code).into(), message: message.clone(), fields: vec![] };
                Ok(AppliedBatch { rows: vec![RowResult::Failed(error); batch.rows.len()], spent: Spend::calls(1) })
            }
            Some(Fault::Rows(_)) => {
                let results = batch.rows.iter().map(|row| target.answer(batch, row, &fault));
                Ok(AppliedBatch { rows: results.collect(), spent: Spend::calls(1) })
            }
        };
        drop(guard);
        target.changed.send_modify(|turn| *turn += 1);
        // The process died while the answer was on its way.
        self.life.check().await;
        answer
    }

    async fn apply_together(&self, parts: &[OutBatch]) -> Result<Vec<AppliedBatch>, SinkError> {
        self.life.check().await;
        let target = &self.target;
        let mut places: Vec<_> = parts.iter().flat_map(|part| part.rows.iter().map(|row| place(part, row))).collect();
        places.sort();
        places.dedup();
        {
            let mut in_flight = target.in_flight.lock();
            assert!(places.iter().all(|place| !in_flight.contains(place)), "{places:?} are in flight twice");
            in_flight.extend(places.iter().cloned());
        }
        let guard = Together { target: target.clone(), places };
        let _ = target.open.subscribe().wait_for(|open| *open).await;
        let mut fault = None;
        for part in parts {
            fault = match (fault, target.run_script(part)) {
                (Some(Fault::Rows(mut rows)), Some(Fault::Rows(more))) => {
                    rows.extend(more);
                    Some(Fault::Rows(rows))
                }
                (Some(Fault::Rows(_)) | None, Some(next)) => Some(next),
                (fault, _) => fault,
            };
        }
        let answer = match &fault {
            Some(Fault::Fail(class, code)) => Err(sink_error(*class, *code)),
            Some(Fault::LoseAnswer) => {
                target.answer_together(parts, &None);
                Err(sink_error(ErrorClass::Unknown, None))
            }
            Some(Fault::Late(delay)) => {
                tokio::time::sleep(*delay).await;
                Ok(target.answer_together(parts, &None))
            }
            None | Some(Fault::Rows(_) | Fault::Quote(..)) => Ok(target.answer_together(parts, &fault)),
        };
        drop(guard);
        target.changed.send_modify(|turn| *turn += 1);
        self.life.check().await;
        answer
    }

    async fn read_back(&self, batch: &OutBatch) -> Result<(Vec<ReadBack>, u32), SinkError> {
        self.life.check().await;
        self.target.read_backs.fetch_add(1, Ordering::Relaxed);
        let rows = self.target.rows.lock();
        let found = batch.rows.iter().map(|row| {
            let Some(key) = &row.key else { return ReadBack::Unknown };
            let there = rows.get(&(batch.object.as_str().to_owned(), text(key)));
            let same = match (there, batch.op) {
                (there, OutOp::Delete) => there.is_none(),
                (None, _) => false,
                (Some(fields), _) => batch.columns.iter().zip(&row.cells).all(|(column, cell)| match cell {
                    Cell::Unchanged => true,
                    Cell::Null => fields.get(&*column.field).is_none_or(|value| value.is_none()),
                    Cell::Value(value) => fields.get(&*column.field) == Some(&Some(text(value))),
                }),
            };
            if same { ReadBack::Applied { id: None } } else { ReadBack::Missing }
        });
        Ok((found.collect(), 1))
    }

    async fn allocations(&self) -> Result<Vec<AllocationReading>, SinkError> {
        Ok(Vec::new())
    }

    fn take_readings(&self) -> Vec<AllocationReading> {
        Vec::new()
    }
}

struct Unlock {
    target: Arc<Target>,
    mine: Vec<String>,
}

impl Drop for Unlock {
    fn drop(&mut self) {
        self.target.locked.lock().retain(|parent| !self.mine.contains(parent));
    }
}

struct InFlight {
    target: Arc<Target>,
    object: String,
    keys: Vec<String>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut in_flight = self.target.in_flight.lock();
        in_flight.retain(|(object, key)| *object != self.object || !self.keys.contains(key));
    }
}

struct Together {
    target: Arc<Target>,
    places: Vec<(String, String)>,
}

impl Drop for Together {
    fn drop(&mut self) {
        self.target.in_flight.lock().retain(|place| !self.places.contains(place));
    }
}
