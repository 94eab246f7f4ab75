//! The suite for sinks, tested: a sink in memory passes it, and each planted mistake is found.

#![allow(clippy::unwrap_used, reason = "a test may panic; clippy knows only functions marked as tests")]

use async_trait::async_trait;
use contract::conformance::sink::{self, SinkFixture, SinkUnderTest};
use contract::{
    AllocationReading, AppliedBatch, FieldKind, FieldSchema, ObjectSchema, OutBatch, OutOp, OutRow, ReadBack, RowError,
    RowResult, Sink, SinkError, SinkLimits, Spend,
};
use model::{Api, Cell, ErrorClass, ErrorCode, FieldValue, Finding, ObjectName};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    NullKeeps,
    UnchangedClears,
    UpdateInserts,
    DeleteOfNothingFails,
    ReadBackAlwaysApplied,
    ReadBackIgnoresNull,
    AnswersMisplaced,
    AnswerLeftOut,
}

type Fields = [Option<String>; 2];

struct Memory {
    mistake: Mistake,
    rows: Mutex<BTreeMap<String, Fields>>,
}

fn key(row: &OutRow) -> String {
    match &row.key {
        Some(FieldValue::Text(text)) => text.to_string(),
        other => panic!("{other:?}"),
    }
}

fn failed(class: ErrorClass, code: &str) -> RowResult {
    RowResult::Failed(RowError { class, code: code.into(), message: "refused".into(), fields: vec![] })
}

impl Memory {
    fn write(&self, op: OutOp, row: &OutRow) -> RowResult {
        let mut rows = self.rows.lock();
        let key = key(row);
        let held = rows.get(&key).cloned();
        if op == OutOp::Delete {
            let missing = rows.remove(&key).is_none();
            return match missing && self.mistake == Mistake::DeleteOfNothingFails {
                true => failed(ErrorClass::Permanent, "NOT_FOUND"),
                false => RowResult::Applied { id: None, created: false },
            };
        }
        if op == OutOp::Update && held.is_none() && self.mistake != Mistake::UpdateInserts {
            return failed(ErrorClass::Permanent, "NOT_FOUND");
        }
        let created = held.is_none();
        let mut fields = held.unwrap_or_default();
        for (field, cell) in fields.iter_mut().zip(&row.cells) {
            match cell {
                Cell::Unchanged if self.mistake == Mistake::UnchangedClears => *field = None,
                Cell::Null if self.mistake == Mistake::NullKeeps => {}
                Cell::Unchanged => {}
                Cell::Null => *field = None,
                Cell::Value(FieldValue::Text(text)) if &**text == "refused" => {
                    return failed(ErrorClass::BusinessRule, "RULE");
                }
                Cell::Value(FieldValue::Text(text)) => *field = Some(text.to_string()),
                Cell::Value(other) => panic!("{other:?}"),
            }
        }
        rows.insert(key, fields);
        RowResult::Applied { id: None, created }
    }

    fn holds(&self, op: OutOp, row: &OutRow) -> bool {
        let held = self.rows.lock().get(&key(row)).cloned();
        let Some(fields) = held else { return op == OutOp::Delete };
        let equal = |(field, cell): (&Option<String>, &Cell)| match cell {
            Cell::Unchanged => true,
            Cell::Null => field.is_none() || self.mistake == Mistake::ReadBackIgnoresNull,
            Cell::Value(FieldValue::Text(text)) => field.as_deref() == Some(&**text),
            Cell::Value(_) => false,
        };
        op != OutOp::Delete && fields.iter().zip(&row.cells).all(equal)
    }
}

#[async_trait]
impl Sink for Memory {
    async fn check(&self) -> Vec<Finding> {
        Vec::new()
    }

    async fn describe(&self, object: &ObjectName) -> Result<Arc<ObjectSchema>, SinkError> {
        if object.as_str() != "Thing" {
            return Err(SinkError {
                code: ErrorCode("PS0000"),
                class: ErrorClass::Permanent,
                place: "describe".into(),
                message: "no such object".into(),
                target_code: None,
                retry_after: None,
                spent: Spend::default(),
            });
        }
        let field = |name: &str| FieldSchema {
            name: name.into(),
            kind: FieldKind::Text,
            length: 255,
            precision: 0,
            scale: 0,
            nillable: true,
            defaulted_on_create: false,
            createable: true,
            updateable: true,
            external_id: true,
            id_lookup: true,
            unique: true,
            case_sensitive: true,
            calculated: false,
            reference_to: vec![],
            relationship_name: None,
            picklist: vec![],
            picklist_restricted: false,
            master_detail: false,
        };
        let fields = ["Key", "Name", "Note"].map(field).to_vec();
        let (name, all) = (object.clone(), true);
        Ok(Arc::new(ObjectSchema { name, createable: all, updateable: all, deletable: all, queryable: all, fields }))
    }

    fn forget(&self, _object: &ObjectName) {}

    fn limits(&self, api: Api) -> Option<SinkLimits> {
        (api == Api::Collections).then_some(SinkLimits { rows_max: 50, bytes_max: 1 << 20, in_flight_max: 4 })
    }

    async fn apply(&self, batch: &OutBatch) -> Result<AppliedBatch, SinkError> {
        let mut rows: Vec<RowResult> = batch.rows.iter().map(|row| self.write(batch.op, row)).collect();
        match self.mistake {
            Mistake::AnswersMisplaced => rows.reverse(),
            Mistake::AnswerLeftOut if rows.len() > 2 => drop(rows.pop()),
            _ => {}
        }
        // A reversed list of three has the failed row in the middle again.
        if self.mistake == Mistake::AnswersMisplaced && rows.len() == 3 {
            rows.swap(0, 1);
        }
        Ok(AppliedBatch { rows, spent: Spend::calls(1) })
    }

    async fn read_back(&self, batch: &OutBatch) -> Result<(Vec<ReadBack>, u32), SinkError> {
        let always = self.mistake == Mistake::ReadBackAlwaysApplied;
        let tell = |row| match always || self.holds(batch.op, row) {
            true => ReadBack::Applied { id: None },
            false => ReadBack::Missing,
        };
        Ok((batch.rows.iter().map(tell).collect(), 1))
    }

    async fn allocations(&self) -> Result<Vec<AllocationReading>, SinkError> {
        Ok(Vec::new())
    }

    fn take_readings(&self) -> Vec<AllocationReading> {
        Vec::new()
    }
}

struct Target(Arc<Memory>);

#[async_trait]
impl SinkUnderTest for Target {
    fn sink(&self) -> Arc<dyn Sink> {
        Arc::clone(&self.0) as Arc<dyn Sink>
    }

    fn fixture(&self) -> SinkFixture {
        SinkFixture {
            object: "Thing".into(),
            external_id: "Key",
            required: "Name",
            optional: "Note",
            refused: "refused".into(),
            no_object: "Nothing".into(),
        }
    }

    async fn held(&self, key: &str) -> Option<Fields> {
        self.0.rows.lock().get(key).cloned()
    }
}

async fn run(mistake: Mistake) {
    sink::run_all(move || async move { Target(Arc::new(Memory { mistake, rows: Mutex::default() })) }).await;
}

#[tokio::test]
async fn a_sound_sink_passes_the_suite() {
    run(Mistake::None).await;
}

#[tokio::test]
async fn each_planted_mistake_is_found() {
    for mistake in [
        Mistake::NullKeeps,
        Mistake::UnchangedClears,
        Mistake::UpdateInserts,
        Mistake::DeleteOfNothingFails,
        Mistake::ReadBackAlwaysApplied,
        Mistake::ReadBackIgnoresNull,
        Mistake::AnswersMisplaced,
        Mistake::AnswerLeftOut,
    ] {
        let found = tokio::spawn(run(mistake)).await;
        assert!(found.is_err_and(|error| error.is_panic()), "{mistake:?} went unnoticed");
    }
}
