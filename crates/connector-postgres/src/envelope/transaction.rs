//! The record that ends a transaction: no row's, and so without key, op and table.

use crate::values::write_number;
use model::{BatchFull, RecordBatchBuilder, header};

/// The end of a transaction, in the words of Debezium's transaction topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionEnd {
    pub xid: u32,
    /// Unix microseconds.
    pub commit_time_us: i64,
}

impl TransactionEnd {
    /// Appends the record; `changes` is how many changes of the stream's tables the transaction made.
    ///
    /// # Errors
    /// `BatchFull`; the batch is as it was.
    pub fn write(&self, out: &mut RecordBatchBuilder, changes: u64) -> Result<(), BatchFull> {
        let time_ms = self.commit_time_us.div_euclid(1000);
        let mut value = b"{\"status\":\"END\",\"id\":\"".to_vec();
        write_number(&mut value, self.xid);
        value.extend_from_slice(b"\",\"event_count\":");
        write_number(&mut value, changes);
        value.extend_from_slice(b",\"ts_ms\":");
        write_number(&mut value, time_ms);
        value.push(b'}');
        out.push(time_ms, None, Some(&value), &[(header::TRANSACTION, header::TRANSACTION_END)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_is_a_record_of_no_table_that_parses() {
        let mut out = RecordBatchBuilder::default();
        TransactionEnd { xid: u32::MAX, commit_time_us: 1_700_000_000_123_456 }.write(&mut out, 7).unwrap();
        let batch = out.finish();
        let record = batch.iter().next().unwrap();
        let value: serde_json::Value = serde_json::from_slice(record.value.unwrap()).unwrap();
        let want = r#"{"status":"END","id":"4294967295","event_count":7,"ts_ms":1700000000123}"#;
        assert_eq!(value.to_string(), serde_json::from_str::<serde_json::Value>(want).unwrap().to_string());
        assert_eq!((record.key, record.header(header::TABLE), record.time_ms), (None, None, 1_700_000_000_123));
        assert_eq!(record.header(header::TRANSACTION), Some(header::TRANSACTION_END));
    }
}
