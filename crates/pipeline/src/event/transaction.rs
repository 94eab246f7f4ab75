//! Which source transaction a record belongs to.

use super::scan::member;
use model::{Record, header};

/// The transaction that changed the record's row, as the envelope's `source.txId` spells it; none for a row of a first copy, and
/// where the source does not say.
pub fn transaction_of<'a>(record: &Record<'a>) -> Option<&'a [u8]> {
    if record.header(header::OP) == Some(b"r") {
        return None;
    }
    let source = member(record.value?, "source").ok()??;
    member(source, "txId").ok()?.filter(|id| *id != b"null")
}

/// True for the record that ends a transaction: no row's.
pub fn ends_transaction(record: &Record<'_>) -> bool {
    record.header(header::TRANSACTION) == Some(header::TRANSACTION_END)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::RecordBatchBuilder;
    use proptest::prelude::*;

    fn id_of(value: &[u8], headers: &[(&str, &[u8])]) -> (Option<Vec<u8>>, bool) {
        let mut builder = RecordBatchBuilder::default();
        builder.push(0, None, Some(value), headers).unwrap();
        let batch = builder.finish();
        let record = batch.iter().next().unwrap();
        (transaction_of(&record).map(<[u8]>::to_vec), ends_transaction(&record))
    }

    #[test]
    fn transaction_is_told_from_the_envelope_and_a_copied_row_has_none() {
        let value = br#"{"before":null,"after":{"txId":9},"source":{"lsn":1,"txId":731},"op":"c"}"#;
        assert_eq!(id_of(value, &[("op", b"c")]).0.as_deref(), Some(b"731".as_slice()));
        assert_eq!(id_of(value, &[("op", b"r")]).0, None);
        assert_eq!(id_of(br#"{"source":{"txId":null}}"#, &[]).0, None);
        assert_eq!(id_of(br#"{"source":7}"#, &[]).0, None);
        assert!(id_of(br#"{"status":"END"}"#, &[(header::TRANSACTION, header::TRANSACTION_END)]).1);
        assert!(!id_of(value, &[("op", b"c")]).1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at_without_a_panic(value in prop::collection::vec(any::<u8>(), 0..80)) {
            id_of(&value, &[]);
        }
    }
}
