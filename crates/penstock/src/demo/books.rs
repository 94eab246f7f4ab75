//! What the pipeline's own log says beside the org's history: values that the source stated twice, and records that were
//! settled without being applied.

use crate::verify::{Accounts, Effect};
use crate::wiring::DataDir;
use anyhow::Context;
use contract::{Log, SystemClock};
use log_store::{LogOptions, LogStore};
use model::{Offset, Outcome, Settlement, StreamId, StreamPartition, header};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Reads the stream `shop` and its settlements.
///
/// # Errors
/// When the log cannot be read.
pub async fn read(data: &DataDir) -> anyhow::Result<Accounts> {
    let log = LogStore::open_read_only(&data.log(), LogOptions::default(), Arc::new(SystemClock::new()))?;
    let mut not_applied: HashSet<Offset> = HashSet::new();
    each(&log, "_settlements", |_, record| {
        let settlement: Settlement = serde_json::from_slice(record.value.unwrap_or_default())?;
        for rows in settlement.rows {
            let offsets = rows.offsets.iter().flat_map(|range| range.offsets());
            match rows.outcome {
                Outcome::Applied => offsets.for_each(|offset| {
                    not_applied.remove(&offset);
                }),
                _ => not_applied.extend(offsets),
            }
        }
        Ok(())
    })
    .await?;
    let (mut books, mut newest) = (Accounts::default(), HashMap::new());
    each(&log, "shop", |offset, record| {
        let value: Value = serde_json::from_slice(record.value.unwrap_or(b"null"))?;
        let id = value["after"]["id"].as_i64().or(value["before"]["id"].as_i64()).unwrap_or_default();
        let key = format!("{}/{id}", value["source"]["table"].as_str().unwrap_or_default());
        let effect = value["after"]["revision"].as_i64().map_or(Effect::Deleted, Effect::Revision);
        let seen = newest.insert(key.clone(), effect) == Some(effect);
        if seen && record.header(header::OP) == Some(b"r") {
            books.copied_again.entry(key.clone()).or_default().push(effect);
        }
        if not_applied.contains(&offset) {
            books.not_applied.entry(key).or_default().push(effect);
        }
        Ok(())
    })
    .await?;
    Ok(books)
}

async fn each(
    log: &LogStore,
    stream: &str,
    mut take: impl FnMut(Offset, model::Record<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let stream = StreamPartition::first(StreamId::from(stream));
    let bounds = log.bounds(&stream)?;
    let mut at = bounds.start;
    while at < bounds.durable {
        let batches = log.read(&stream, at, 4 << 20).await?;
        for batch in &batches {
            let skip = at.0.saturating_sub(batch.base.0);
            for (number, record) in batch.records.iter().enumerate().skip(skip as usize) {
                take(batch.base.plus(number as u64), record)?;
            }
            at = batch.end();
        }
        batches.last().context("the log gave nothing below its durable end")?;
    }
    Ok(())
}
