//! Rows by themselves: one graph of one node for each, or one call for each.

use super::node::{Node, Record, graphs_body};
use super::plan::found_id;
use super::{GRAPHS_MAX, answers};
use crate::faults::{self, fault};
use crate::read::Found;
use crate::sink::{SalesforceSink, no_such_place, retry_lost_race};
use crate::transport::Call;
use crate::write::{self, Fields};
use contract::{OutBatch, OutOp, RowResult, SinkError};
use http::Method;
use model::ErrorClass;

/// A row that is sent: its place, its call, the record id where it was looked up.
struct Sent<'f> {
    row: usize,
    node: Node,
    found: Option<&'f Found>,
}

impl SalesforceSink {
    /// Applies each row as a graph of its own, 75 in a call.
    ///
    /// # Errors
    /// `SinkError` of the lookups or of the first call; after that each row has its own answer.
    pub(crate) async fn as_graphs(&self, batch: &OutBatch, calls: &mut u32) -> Result<Vec<RowResult>, SinkError> {
        let mut slots = vec![None; batch.rows.len()];
        let found = self.found_rows(batch, calls).await?;
        let sent = self.nodes(batch, &found, &mut slots)?;
        for (number, run) in sent.chunks(GRAPHS_MAX).enumerate() {
            match self.graph_call(batch, run, calls).await {
                Ok(results) => run.iter().zip(results).for_each(|(sent, result)| slots[sent.row] = Some(result)),
                Err(error) if number == 0 && sent.len() == slots.len() => return Err(error),
                Err(error) => run.iter().for_each(|sent| slots[sent.row] = Some(write::failed_with(&error))),
            }
        }
        Ok(slots.into_iter().map(|slot| slot.expect("each row was sent or answered without a call")).collect())
    }

    async fn graph_call(
        &self,
        batch: &OutBatch,
        run: &[Sent<'_>],
        calls: &mut u32,
    ) -> Result<Vec<RowResult>, SinkError> {
        let place = format!("{} by graphs", batch.object);
        let graphs = run.iter().map(|sent| (format!("g{}", sent.row), vec![(&sent.node, "n0".to_owned())]));
        let path = format!("{}/composite/graph", self.transport.data_path);
        let call = Call::write(Method::POST, path, Some(graphs_body(graphs)), &place);
        let answer = self.transport.call(&call, calls).await?;
        let mut results = answers::read(&answer.body, &place)?;
        let result = |sent: &Sent<'_>| {
            let result = results.remove(&(format!("g{}", sent.row), "n0".to_owned()));
            let unknown = || fault(faults::MALFORMED, ErrorClass::Unknown, &place, "a graph has no answer");
            completed(batch, sent, result.unwrap_or_else(|| write::failed_with(&unknown())))
        };
        run.iter().map(result).collect()
    }

    /// Applies each row by a call of its own.
    ///
    /// # Errors
    /// As `as_graphs`.
    pub(crate) async fn one_by_one(&self, batch: &OutBatch, calls: &mut u32) -> Result<Vec<RowResult>, SinkError> {
        let mut slots = vec![None; batch.rows.len()];
        let found = self.found_rows(batch, calls).await?;
        for (number, sent) in self.nodes(batch, &found, &mut slots)?.into_iter().enumerate() {
            let place = format!("write one {}", batch.object);
            let Node { method, path, body } = &sent.node;
            let call = Call::write(method.clone(), path.clone(), body.clone().map(Into::into), &place);
            let told = match self.transport.call(&call, calls).await {
                Ok(answer) => {
                    let body = std::str::from_utf8(&answer.body).ok();
                    completed(batch, &sent, answers::result(answer.status.as_u16(), body))
                }
                Err(error) => row_of(error).and_then(|row| completed(batch, &sent, row)),
            };
            slots[sent.row] = Some(match told {
                Ok(result) => result,
                Err(error) if number == 0 => return Err(error),
                Err(error) => write::failed_with(&error),
            });
        }
        Ok(slots.into_iter().map(|slot| slot.expect("each row was sent or answered without a call")).collect())
    }

    async fn found_rows(&self, batch: &OutBatch, calls: &mut u32) -> Result<Vec<Found>, SinkError> {
        if matches!(batch.op, OutOp::Upsert | OutOp::Create) {
            return Ok(Vec::new());
        }
        let schema = self.descriptions.get(&self.transport, &batch.object, calls).await?;
        let rows: Vec<usize> = (0..batch.rows.len()).collect();
        // A cached id may lead to a record that is gone; these ways are for few rows, so each is looked up.
        self.target(&schema, batch)?.resolve(batch, &rows, false, calls).await
    }

    /// Makes the call of each row, and answers those that need none.
    fn nodes<'f>(
        &self,
        batch: &OutBatch,
        found: &'f [Found],
        slots: &mut [Option<RowResult>],
    ) -> Result<Vec<Sent<'f>>, SinkError> {
        let fields = Fields::new(batch);
        let place = format!("write {}", batch.object);
        let mut sent = Vec::with_capacity(batch.rows.len());
        for (at, row) in batch.rows.iter().enumerate() {
            let found = found.get(at);
            let record = match (batch.op, &batch.external_id, &row.key, found) {
                (OutOp::Create, ..) => Record::New,
                (OutOp::Upsert, Some(field), Some(key), _) => {
                    if crate::read::value_text(key).trim().is_empty() {
                        let why = format!("{} cannot be matched: the key is empty", batch.object);
                        slots[at] = Some(write::refused("MISSING_ARGUMENT", why));
                        continue;
                    }
                    Record::Key(field, key)
                }
                (OutOp::Update | OutOp::Delete, _, _, Some(Found::One { id, .. })) => Record::Id(id),
                (OutOp::Update | OutOp::Delete, _, _, Some(other)) => {
                    slots[at] = Some(write::without_a_call(
                        &batch.object,
                        batch.external_id.as_deref().unwrap_or_default(),
                        batch.op,
                        other,
                    ));
                    continue;
                }
                _ => return Err(write::impossible(&place, "the rows have no external id field to match by")),
            };
            let body = (batch.op != OutOp::Delete).then(|| fields.record(row, batch.op == OutOp::Create, |_| None));
            let node = Node::new(&self.transport.data_path, &batch.object, &record, batch.op, body);
            sent.push(Sent { row: at, node, found });
        }
        Ok(sent)
    }
}

/// A refusal of a call for one row is the row's, when it says something of the row.
///
/// # Errors
/// The error itself when it is the call's: no answer, a quota, credentials, an object that is not there.
fn row_of(error: SinkError) -> Result<RowResult, SinkError> {
    match (error.class, error.code.0) {
        (ErrorClass::Permanent, faults::REFUSED) if error.message.starts_with("HTTP 300") => {
            Ok(answers::result(300, None))
        }
        (ErrorClass::Lock | ErrorClass::ParentMissing | ErrorClass::BusinessRule | ErrorClass::Permanent, _) => {
            Ok(write::failed_with(&error))
        }
        _ => Err(error),
    }
}

/// Completes a call's answer by what is known of its row.
fn completed(batch: &OutBatch, sent: &Sent<'_>, result: RowResult) -> Result<RowResult, SinkError> {
    let gone = |code: &str| matches!(code, "NOT_FOUND" | "ENTITY_IS_DELETED");
    match result {
        RowResult::Applied { id: None, created } => Ok(RowResult::Applied { id: found_id(sent.found), created }),
        // Looked up a moment ago and gone now: somebody else deleted it.
        RowResult::Failed(error) if batch.op == OutOp::Delete && gone(&error.code) => {
            Ok(RowResult::Applied { id: None, created: false })
        }
        RowResult::Failed(error)
            if batch.op == OutOp::Upsert && error.code == "NOT_FOUND" && error.class == ErrorClass::Permanent =>
        {
            let mut whole = fault(faults::REFUSED, ErrorClass::Permanent, "upsert", &error.message);
            whole.target_code = Some(error.code);
            Err(no_such_place(whole))
        }
        mut result => {
            retry_lost_race(&mut result, batch.external_id.as_deref().filter(|_| batch.op == OutOp::Upsert));
            Ok(result)
        }
    }
}
