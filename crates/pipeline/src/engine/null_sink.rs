//! A sink that takes everything and keeps nothing: what the pipeline itself costs.

use async_trait::async_trait;
use contract::{
    AllocationReading, AppliedBatch, FieldKind, FieldSchema, ObjectSchema, OutBatch, ReadBack, RowResult, Sink,
    SinkError, SinkLimits, Spend,
};
use model::{Api, Finding, ObjectName};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Applies every row after a fixed delay. It has every field that a route may want: give it their names.
#[derive(Debug)]
pub struct NullSink {
    limits: SinkLimits,
    delay: Duration,
    fields: Vec<(String, FieldKind)>,
    rows: AtomicU64,
    batches: AtomicU64,
}

impl NullSink {
    /// Makes a sink whose objects have these fields; each may serve as external id.
    pub fn new(fields: Vec<(String, FieldKind)>) -> Self {
        let limits = SinkLimits { rows_max: 2000, bytes_max: 4 << 20, in_flight_max: 8 };
        Self { limits, delay: Duration::ZERO, fields, rows: AtomicU64::new(0), batches: AtomicU64::new(0) }
    }

    /// Answers each batch after `delay`.
    pub fn with_delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Takes other limits.
    pub fn with_limits(self, limits: SinkLimits) -> Self {
        Self { limits, ..self }
    }

    /// Rows taken so far.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Batches taken so far.
    pub fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }
}

fn field(name: &str, kind: FieldKind) -> FieldSchema {
    FieldSchema {
        name: name.into(),
        kind,
        length: 131_072,
        precision: 18,
        scale: 4,
        nillable: true,
        defaulted_on_create: false,
        createable: true,
        updateable: true,
        external_id: true,
        id_lookup: true,
        unique: true,
        case_sensitive: true,
        calculated: false,
        reference_to: Vec::new(),
        relationship_name: None,
        picklist: Vec::new(),
        picklist_restricted: false,
        master_detail: false,
    }
}

#[async_trait]
impl Sink for NullSink {
    async fn check(&self) -> Vec<Finding> {
        Vec::new()
    }

    async fn describe(&self, object: &ObjectName) -> Result<Arc<ObjectSchema>, SinkError> {
        Ok(Arc::new(ObjectSchema {
            name: object.clone(),
            createable: true,
            updateable: true,
            deletable: true,
            queryable: true,
            fields: self.fields.iter().map(|(name, kind)| field(name, *kind)).collect(),
        }))
    }

    fn forget(&self, _object: &ObjectName) {}

    fn limits(&self, api: Api) -> Option<SinkLimits> {
        (api == Api::Collections).then_some(self.limits)
    }

    async fn apply(&self, batch: &OutBatch) -> Result<AppliedBatch, SinkError> {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        self.rows.fetch_add(batch.rows.len() as u64, Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
        let rows = vec![RowResult::Applied { id: None, created: false }; batch.rows.len()];
        Ok(AppliedBatch { rows, spent: Spend::calls(1) })
    }

    /// It keeps nothing, so nothing is there.
    async fn read_back(&self, batch: &OutBatch) -> Result<(Vec<ReadBack>, u32), SinkError> {
        Ok((vec![ReadBack::Missing; batch.rows.len()], 1))
    }

    async fn allocations(&self) -> Result<Vec<AllocationReading>, SinkError> {
        Ok(Vec::new())
    }

    fn take_readings(&self) -> Vec<AllocationReading> {
        Vec::new()
    }
}
