//! Rows of several parts as the nodes of one graph.

use super::node::{Node, Record};
use super::{DEPTH_MAX, KINDS_MAX, NODES_MAX};
use crate::read::{Found, value_text};
use crate::write::Fields;
use contract::{OutBatch, OutColumn, OutOp, OutRow};
use model::{Cell, FieldValue, ObjectName};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A row's place: part and row.
pub(crate) type Place = (usize, usize);

/// One graph.
#[derive(Default)]
pub(crate) struct Plan {
    /// In the order of the rows.
    pub nodes: Vec<(Place, Node)>,
    /// Rows that need no node: what they would delete is not there.
    pub gone: Vec<Place>,
    /// Rows that cannot be applied, and why: code and sentence.
    pub refused: Vec<(Place, &'static str, &'static str)>,
}

/// What a key of an object stands for after the rows so far.
#[derive(Clone, Copy)]
enum Known {
    /// An upsert or create in this graph: its node, and how long the chain of references up to it is.
    Node(usize, usize),
    Deleted,
}

type Key = (String, String, String);

fn key_of(object: &ObjectName, field: &str, value: &FieldValue) -> Key {
    (object.as_str().to_ascii_lowercase(), field.to_ascii_lowercase(), value_text(value).trim().to_owned())
}

/// Makes the graph of these parts. `found` holds, for parts of updates and deletes, what each row's key leads to in the org.
pub(crate) fn plan(data_path: &str, parts: &[OutBatch], found: &[Vec<Found>]) -> Plan {
    let mut plan = Plan::default();
    let mut known: HashMap<Key, Known> = HashMap::new();
    for (part, batch) in parts.iter().enumerate() {
        let fields = Fields::new(batch);
        for (at, row) in batch.rows.iter().enumerate() {
            let place = (part, at);
            let key = batch.external_id.as_deref().zip(row.key.as_ref());
            let name = key.map(|(field, value)| key_of(&batch.object, field, value));
            let before = name.as_ref().and_then(|name| known.get(name)).copied();
            let found = found.get(part).and_then(|found| found.get(at));
            let record = match record(batch.op, key, before, found) {
                Ok(Some(record)) => record,
                Ok(None) => {
                    plan.gone.push(place);
                    continue;
                }
                Err((code, why)) => {
                    plan.refused.push((place, code, why));
                    continue;
                }
            };
            let mut depth = 1;
            let mut parent_of = |column: usize| parent(&batch.columns[column], row, column, &known, &mut depth);
            let parents: Vec<Option<String>> = (0..row.cells.len()).map(&mut parent_of).collect();
            let with_key = batch.op == OutOp::Create;
            let body = (batch.op != OutOp::Delete).then(|| fields.record(row, with_key, |at| parents[at].clone()));
            let number = plan.nodes.len();
            plan.nodes.push((place, Node::new(data_path, &batch.object, &record, batch.op, body)));
            if let Some(name) = name {
                match batch.op {
                    OutOp::Upsert | OutOp::Create => known.insert(name, Known::Node(number, depth)),
                    OutOp::Delete => known.insert(name, Known::Deleted),
                    OutOp::Update => None,
                };
            }
        }
    }
    plan
}

/// How the call names a row's record; none when there is nothing to do.
fn record<'a>(
    op: OutOp,
    key: Option<(&'a str, &'a FieldValue)>,
    before: Option<Known>,
    found: Option<&'a Found>,
) -> Result<Option<Record<'a>>, (&'static str, &'static str)> {
    let blank = key.is_some_and(|(_, value)| value_text(value).trim().is_empty());
    match (op, key) {
        (OutOp::Create, _) => return Ok(Some(Record::New)),
        (_, None) => return Err(("MISSING_ARGUMENT", "the row has no external id to match by")),
        _ if blank => return Err(("MISSING_ARGUMENT", "the row's external id is empty")),
        (OutOp::Upsert, Some((field, value))) => return Ok(Some(Record::Key(field, value))),
        (OutOp::Update | OutOp::Delete, _) => {}
    }
    let by_key = key.map(|(field, value)| Record::Key(field, value));
    match (before, found) {
        (Some(Known::Node(..)), _) => Ok(by_key),
        (Some(Known::Deleted), _) | (None, Some(Found::Absent) | None) if op == OutOp::Delete => Ok(None),
        (Some(Known::Deleted), _) | (None, Some(Found::Absent) | None) => {
            Err(("NOT_FOUND", "there is no record for this key"))
        }
        (None, Some(Found::One { id, .. })) => Ok(Some(Record::Id(id))),
        (None, Some(Found::Many)) => Err(("DUPLICATE_EXTERNAL_ID", "there are several records for this key")),
        (None, Some(Found::NoKey)) => Err(("MISSING_ARGUMENT", "the key is no value of the field")),
    }
}

/// What a lookup is set to when its parent is written in the same graph: the id that the parent's node will have.
fn parent(
    column: &OutColumn,
    row: &OutRow,
    at: usize,
    known: &HashMap<Key, Known>,
    depth: &mut usize,
) -> Option<String> {
    let (Some(reference), Some(Cell::Value(value))) = (&column.reference, row.cells.get(at)) else { return None };
    match known.get(&key_of(&reference.object, &reference.external_id, value)) {
        // A longer chain would be refused; the org finds the parent by its external id, too.
        Some(Known::Node(number, above)) if *above < DEPTH_MAX => {
            *depth = (*depth).max(above + 1);
            Some(format!("@{{{}.id}}", reference_of(*number)))
        }
        _ => None,
    }
}

/// The reference of a node.
pub(crate) fn reference_of(number: usize) -> String {
    format!("n{number}")
}

impl Plan {
    /// Why the graph is more than Salesforce takes.
    pub fn too_large(&self) -> Option<String> {
        if self.nodes.len() > NODES_MAX {
            return Some(format!("{} rows belong together, and a graph takes {NODES_MAX}", self.nodes.len()));
        }
        let kind = |node: &Node| {
            let object = node.path.split('/').nth(5).unwrap_or_default();
            (node.method.clone(), object.to_ascii_lowercase())
        };
        let kinds: HashSet<_> = self.nodes.iter().map(|(_, node)| kind(node)).collect();
        (kinds.len() > KINDS_MAX)
            .then(|| format!("{} objects and operations belong together, and a graph takes {KINDS_MAX}", kinds.len()))
    }
}

/// The record id that a row was found by, for its answer.
pub(crate) fn found_id(found: Option<&Found>) -> Option<Arc<str>> {
    match found {
        Some(Found::One { id, .. }) => Some(Arc::clone(id)),
        _ => None,
    }
}
