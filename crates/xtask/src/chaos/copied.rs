//! Rows that the first copy carried although the stream had them already: the part of `resent` that is no repetition by
//! Penstock, but two records of the source with one value.

use anyhow::Context;
use contract::{Log, SystemClock};
use log_store::{LogOptions, LogStore};
use model::{Offset, StreamId, StreamPartition, header};
use penstock::wiring::DataDir;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// Counts records of op `r` whose key and revision stand in an earlier record of the stream.
pub async fn copied_again(data: &DataDir) -> anyhow::Result<u64> {
    let log = LogStore::open_read_only(&data.log(), LogOptions::default(), Arc::new(SystemClock::new()))?;
    let stream = StreamPartition::first(StreamId::from("shop"));
    let bounds = log.bounds(&stream)?;
    let (mut at, mut newest, mut again) = (bounds.start, HashMap::new(), 0);
    while at < bounds.durable {
        let batches = log.read(&stream, at, 4 << 20).await?;
        for batch in &batches {
            let first = Offset(at.0.max(batch.base.0));
            for record in batch.records.iter().skip((first.0 - batch.base.0) as usize) {
                let key = [record.header(header::TABLE).unwrap_or_default(), record.key.unwrap_or_default()].concat();
                let value: Value = serde_json::from_slice(record.value.unwrap_or(b"null"))?;
                let Some(revision) = value["after"]["revision"].as_i64() else { continue };
                let seen = newest.insert(key, revision) == Some(revision);
                again += u64::from(seen && record.header(header::OP) == Some(b"r"));
            }
            at = batch.end();
        }
        batches.last().context("the log gave nothing below its durable end")?;
    }
    Ok(again)
}
