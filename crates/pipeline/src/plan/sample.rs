//! What a sample of a table's rows tells of a route: which lanes they take, how many pass the filter, how long they are.

use super::facts::LaneParts;
use crate::event::scan::member;
use crate::expr::{Evaluated, Expression, Found};
use crate::spec::{LaneSpec, MapSource, RouteSpec};
use cel::Value;
use model::{Lane, ValueMode};

/// Bytes of a change event beside its row: the envelope, the key, headers.
const ENVELOPE_BYTES: u64 = 420;
/// Bytes of a sent row beside its values: its type, the field names' quotes.
const SENT_BYTES: u64 = 60;

/// What a route makes of rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowTraits {
    /// Rows of the first copy by lane.
    pub copy_lanes: LaneParts,
    /// Live changes by lane.
    pub live_lanes: LaneParts,
    /// The part that passes the filter.
    pub passes: f64,
    /// Bytes of a record in the log, and of a row as it is sent.
    pub record_bytes: u64,
    pub row_bytes: u64,
}

impl RowTraits {
    /// What is assumed without a sample.
    pub fn assumed(route: &RouteSpec) -> Self {
        let (copy_lanes, live_lanes) = match route.lane {
            LaneSpec::Constant(lane) => (LaneParts::all(Lane::Bulk), LaneParts::all(lane)),
            LaneSpec::Cel(_) => (LaneParts::all(Lane::Standard), LaneParts::all(Lane::Standard)),
        };
        Self { copy_lanes, live_lanes, passes: 1.0, record_bytes: 1_000, row_bytes: 600 }
    }

    /// Looks at rows, each a JSON object. A row over which an expression fails counts as one that passes in `standard`: a run
    /// will refuse it, and tell why.
    pub fn of_rows(route: &RouteSpec, rows: &[String]) -> Self {
        let assumed = Self::assumed(route);
        if rows.is_empty() {
            return assumed;
        }
        let compile = |text: &str| Expression::compile(text, &route.schema.columns).ok();
        let filter = route.filter.as_deref().and_then(compile);
        let lane = match &route.lane {
            LaneSpec::Cel(text) => compile(text),
            LaneSpec::Constant(_) => None,
        };
        let (mut lanes, mut passed, mut bytes, mut sent) = ([0_u64; 3], 0_u64, 0_u64, 0_u64);
        for row in rows {
            let row = row.as_bytes();
            bytes += row.len() as u64;
            if !passes(filter.as_ref(), row) {
                continue;
            }
            passed += 1;
            sent += sent_bytes(route, row);
            lanes[lane_of(lane.as_ref(), row) as usize] += 1;
        }
        let by_expression = lane.is_some().then(|| LaneParts::of_counts(lanes));
        Self {
            copy_lanes: by_expression.unwrap_or(assumed.copy_lanes),
            live_lanes: by_expression.unwrap_or(assumed.live_lanes),
            passes: passed as f64 / rows.len() as f64,
            record_bytes: bytes / rows.len() as u64 + ENVELOPE_BYTES,
            row_bytes: sent / passed.max(1) + SENT_BYTES,
        }
    }
}

fn evaluate(expression: &Expression, row: &[u8]) -> Option<Value> {
    let find = |name: &str| member(row, name).ok().flatten().map_or(Found::Missing, Found::Raw);
    match expression.evaluate(ValueMode::Readable, find) {
        Ok(Evaluated::Value(value)) => Some(value),
        Ok(Evaluated::Unchanged) | Err(_) => None,
    }
}

fn passes(filter: Option<&Expression>, row: &[u8]) -> bool {
    match filter.map(|filter| evaluate(filter, row)) {
        Some(Some(Value::Bool(passes))) => passes,
        Some(Some(Value::Null)) => false,
        _ => true,
    }
}

fn lane_of(lane: Option<&Expression>, row: &[u8]) -> Lane {
    match lane.and_then(|lane| evaluate(lane, row)) {
        Some(Value::String(word)) => Lane::from_word(&word).unwrap_or_default(),
        _ => Lane::default(),
    }
}

/// Bytes of the mapped columns with their fields' names; what an expression gives is taken as 20 bytes.
fn sent_bytes(route: &RouteSpec, row: &[u8]) -> u64 {
    let of = |field: &str, source: &MapSource| {
        let value = match source {
            MapSource::Column(column) => member(row, column).ok().flatten().map_or(0, <[u8]>::len),
            MapSource::Constant(value) => value.to_string().len(),
            MapSource::Cel(_) => 20,
            MapSource::Change(crate::spec::ChangePart::Row) => row.len() * 5 / 4,
            MapSource::Change(_) => 40,
        };
        field.len() + 4 + value
    };
    let mapped: usize = route.map.iter().map(|(field, source)| of(field, source)).sum();
    let references: usize =
        route.references.iter().map(|parent| parent.external_id.len() + parent.object.as_str().len() + 40).sum();
    (mapped + references) as u64
}
