//! Parts that are applied all or none.

use super::answers::{self, rolled_back};
use super::carries;
use super::node::graphs_body;
use super::plan::{self, Place, Plan, found_id, reference_of};
use crate::faults::{self, fault};
use crate::read::Found;
use crate::sink::{SalesforceSink, no_such_place, retry_lost_race};
use crate::transport::Call;
use crate::write;
use contract::{OutBatch, OutOp, RowError, RowResult, SinkError};
use http::Method;
use model::ErrorClass;
use std::collections::HashSet;

/// Tries of a graph whose deletes find that somebody was faster.
const TRIES: u32 = 3;

impl SalesforceSink {
    /// Applies parts in order, all rows or none (`Sink::apply_together`).
    ///
    /// One part that Collections takes whole goes by Collections, at the same price; everything else is one graph.
    ///
    /// # Errors
    /// As `Sink::apply_together`; `PS4117`, class `Permanent`, when there is more than a graph takes.
    pub(crate) async fn together(&self, parts: &[OutBatch], calls: &mut u32) -> Result<Vec<Vec<RowResult>>, SinkError> {
        if let [only] = parts
            && is_one_call(only)
        {
            return Ok(vec![self.all_or_none(only, calls).await?]);
        }
        let mut slots: Vec<Vec<Option<RowResult>>> = parts.iter().map(|part| vec![None; part.rows.len()]).collect();
        for (part, batch) in parts.iter().enumerate() {
            for (at, _) in batch.rows.iter().enumerate().filter(|(_, row)| !carries(row)) {
                slots[part][at] = Some(write::refused(
                    faults::NOT_IN_A_GRAPH,
                    "the row has a text with @{, which a graph takes for a reference".into(),
                ));
            }
        }
        if slots.iter().flatten().all(Option::is_none) {
            let mut cached = true;
            for tries in 1.. {
                let found = self.found(parts, cached, calls).await?;
                let gone = self.one_graph(parts, &found, &mut slots, calls).await?;
                if !gone || tries == TRIES {
                    break;
                }
                // Records that were looked up are not there any more: nothing was applied, so it is begun anew.
                slots.iter_mut().flatten().for_each(|slot| *slot = None);
                cached = false;
            }
        }
        let answer = |slot: Option<RowResult>| slot.unwrap_or_else(rolled_back);
        Ok(slots.into_iter().map(|part| part.into_iter().map(answer).collect()).collect())
    }

    /// One part by Collections, all rows or none.
    async fn all_or_none(&self, batch: &OutBatch, calls: &mut u32) -> Result<Vec<RowResult>, SinkError> {
        let mut rows = self.create_or_upsert(batch, true, calls).await?;
        if rows.iter().any(|row| matches!(row, RowResult::Failed(_))) {
            // Whatever a row's own answer says, it was rolled back.
            rows.iter_mut().filter(|row| matches!(row, RowResult::Applied { .. })).for_each(|row| *row = rolled_back());
        }
        Ok(rows)
    }

    /// Looks up the records of updates and deletes.
    async fn found(&self, parts: &[OutBatch], cached: bool, calls: &mut u32) -> Result<Vec<Vec<Found>>, SinkError> {
        let mut all = Vec::with_capacity(parts.len());
        for batch in parts {
            if matches!(batch.op, OutOp::Upsert | OutOp::Create) {
                all.push(Vec::new());
                continue;
            }
            let schema = self.descriptions.get(&self.transport, &batch.object, calls).await?;
            let target = self.target(&schema, batch)?;
            let rows: Vec<usize> = (0..batch.rows.len()).collect();
            all.push(target.resolve(batch, &rows, cached, calls).await?);
        }
        Ok(all)
    }

    /// Sends the parts as one graph and fills the slots; true when a record that was looked up has gone.
    async fn one_graph(
        &self,
        parts: &[OutBatch],
        found: &[Vec<Found>],
        slots: &mut [Vec<Option<RowResult>>],
        calls: &mut u32,
    ) -> Result<bool, SinkError> {
        let place = "apply rows together";
        let Plan { nodes, gone, refused } = {
            let plan = plan::plan(&self.transport.data_path, parts, found);
            if let Some(why) = plan.too_large() {
                return Err(fault(faults::TOO_MUCH_TOGETHER, ErrorClass::Permanent, place, why));
            }
            plan
        };
        if !refused.is_empty() {
            for ((part, at), code, why) in refused {
                slots[part][at] = Some(write::refused(code, format!("{}: {why}", parts[part].object)));
            }
            return Ok(false);
        }
        if !nodes.is_empty() {
            let named = nodes.iter().enumerate().map(|(number, (_, node))| (node, reference_of(number))).collect();
            let body = graphs_body(std::iter::once(("g".to_owned(), named)));
            let path = format!("{}/composite/graph", self.transport.data_path);
            let call = Call::write(Method::POST, path, Some(body), place);
            let answer = self.transport.call(&call, calls).await?;
            let mut results = answers::read(&answer.body, place)?;
            for (number, (at, _)) in nodes.iter().enumerate() {
                let result = results.remove(&("g".to_owned(), reference_of(number)));
                let result = result.ok_or_else(|| {
                    fault(faults::MALFORMED, ErrorClass::Unknown, place, "a node of the graph has no answer")
                })?;
                slots[at.0][at.1] = Some(named_result(parts, found, *at, result)?);
            }
        }
        for (part, at) in gone {
            slots[part][at] = Some(RowResult::Applied { id: None, created: false });
        }
        let failed = slots.iter().flatten().flatten().any(|row| matches!(row, RowResult::Failed(_)));
        if failed {
            let applied = slots.iter_mut().flatten().flatten().filter(|row| matches!(row, RowResult::Applied { .. }));
            applied.for_each(|row| *row = rolled_back());
        }
        let has_gone = |(part, batch): (usize, &OutBatch)| {
            matches!(batch.op, OutOp::Update | OutOp::Delete) && slots[part].iter().flatten().any(is_gone)
        };
        Ok(parts.iter().enumerate().any(has_gone))
    }
}

/// True for a part that one Collections call applies whole: no lookups before it, and each key once.
fn is_one_call(batch: &OutBatch) -> bool {
    let mut keys = HashSet::new();
    matches!(batch.op, OutOp::Upsert | OutOp::Create)
        && batch.rows.len() <= write::ROWS_MAX
        && batch.rows.iter().all(|row| {
            row.key.as_ref().is_none_or(|key| keys.insert(crate::read::value_text(key).trim().to_lowercase()))
        })
}

/// Completes a node's answer by what is known of its row.
///
/// # Errors
/// When object or field is not there: no row's fault.
fn named_result(
    parts: &[OutBatch],
    found: &[Vec<Found>],
    (part, at): Place,
    result: RowResult,
) -> Result<RowResult, SinkError> {
    let batch = &parts[part];
    let mut result = match result {
        RowResult::Applied { id: None, created } => {
            RowResult::Applied { id: found_id(found.get(part).and_then(|found| found.get(at))), created }
        }
        result => result,
    };
    if let RowResult::Failed(error) = &result
        && batch.op == OutOp::Upsert
        && error.code == "NOT_FOUND"
        && error.class == ErrorClass::Permanent
    {
        let place = format!("upsert {}", batch.object);
        let mut error = fault(faults::REFUSED, ErrorClass::Permanent, &place, &error.message);
        error.target_code = Some("NOT_FOUND".into());
        return Err(no_such_place(error));
    }
    retry_lost_race(&mut result, batch.external_id.as_deref().filter(|_| batch.op == OutOp::Upsert));
    Ok(result)
}

/// True for the answer to a call for a record that is not there any more.
fn is_gone(result: &RowResult) -> bool {
    matches!(result, RowResult::Failed(RowError { code, .. }) if code == "ENTITY_IS_DELETED" || code == "NOT_FOUND")
}
