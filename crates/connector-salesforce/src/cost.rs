//! What a batch costs in API calls, before it is sent.

use contract::{OutOp, Spend};
use model::Api;

/// API calls of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchCost {
    /// When every record id is in the cache, or none is needed.
    pub calls_min: u32,
    /// When no id is known and one stale id makes the batch look again; without session renewals.
    pub calls_max: u32,
}

/// Encoded bytes of one key in a lookup when nothing better is known: a UUID in quotes, with its comma.
const KEY_BYTES_TYPICAL: usize = 36 + 7;

/// Tells the calls of a batch of `rows` rows (at most 200) whose external ids take `key_bytes` bytes each (none: not known).
///
/// An upsert or create is one call. An update or delete by external id needs the record ids first: one lookup for as
/// many keys as fit in a URI.
pub fn batch_cost(op: OutOp, rows: usize, key_bytes: Option<usize>) -> BatchCost {
    if rows == 0 {
        return BatchCost { calls_min: 0, calls_max: 0 };
    }
    match op {
        OutOp::Upsert | OutOp::Create => BatchCost { calls_min: 1, calls_max: 1 },
        OutOp::Update | OutOp::Delete => {
            let key = key_bytes.map_or(KEY_BYTES_TYPICAL, |bytes| bytes + 7);
            BatchCost { calls_min: 1, calls_max: 2 * (1 + lookups(rows, key)) }
        }
    }
}

/// Tells the most that a batch of `rows` rows costs by a way.
pub(crate) fn most(api: Api, op: OutOp, rows: usize) -> Spend {
    let looked_up = match op {
        // A description, too.
        OutOp::Update | OutOp::Delete if rows > 0 => 1 + lookups(rows, KEY_BYTES_TYPICAL),
        _ => 0,
    };
    let calls = |rows_max: usize| rows.div_ceil(rows_max) as u32 + looked_up;
    match api {
        Api::Collections => Spend::calls(batch_cost(op, rows, None).calls_max),
        Api::Graph => Spend::calls(calls(crate::graph::GRAPHS_MAX)),
        Api::Rest => Spend::calls(calls(1)),
        Api::Event => Spend { calls: calls(crate::write::ROWS_MAX), bulk_batches: 0, events: rows as u32 },
        Api::PubSub => Spend { calls: 0, bulk_batches: 0, events: rows as u32 },
        Api::Bulk => {
            let calls = if rows > 0 { crate::bulk::CALLS_MAX + looked_up } else { 0 };
            Spend { calls, bulk_batches: crate::bulk::batches_of(rows), events: 0 }
        }
    }
}

/// Calls of a job whose end is found at the first look: create, upload, close, the look, the file of what was applied.
const JOB_CALLS: u32 = 5;

/// Tells what a batch costs when nothing goes wrong, given the most that it may cost: a job's end is found at the first look, no
/// row is refused, and record ids that are looked up are not stale.
pub(crate) fn typical(most: Spend, api: Api, op: OutOp, rows: usize) -> Spend {
    let lookups = match op {
        OutOp::Upsert | OutOp::Create => 0,
        OutOp::Update | OutOp::Delete => lookups(rows, KEY_BYTES_TYPICAL),
    };
    let calls = match api {
        _ if rows == 0 => 0,
        Api::Bulk => JOB_CALLS + lookups,
        Api::Collections => 1 + lookups,
        _ => most.calls,
    };
    Spend { calls: calls.min(most.calls), ..most }
}

fn lookups(rows: usize, key_bytes: usize) -> u32 {
    (rows * key_bytes).div_ceil(crate::read::soql::URI_BYTES_MAX - 512) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typical_is_never_more_than_the_most() {
        for op in [OutOp::Upsert, OutOp::Create, OutOp::Update, OutOp::Delete] {
            for rows in [0, 1, 200] {
                let most = most(Api::Collections, op, rows);
                let typical = typical(most, Api::Collections, op, rows);
                assert!(typical.calls <= most.calls && (typical.calls > 0) == (rows > 0), "{op:?} {rows}");
            }
            let most = most(Api::Bulk, op, 10_000);
            let typical = typical(most, Api::Bulk, op, 10_000);
            assert!(typical.calls < most.calls && typical.bulk_batches == 1);
        }
    }

    #[test]
    fn an_upsert_costs_one_call_and_a_delete_its_lookup_too() {
        assert_eq!(batch_cost(OutOp::Upsert, 200, None), BatchCost { calls_min: 1, calls_max: 1 });
        assert_eq!(batch_cost(OutOp::Delete, 200, Some(12)), BatchCost { calls_min: 1, calls_max: 4 });
        assert_eq!(batch_cost(OutOp::Update, 200, Some(255)).calls_max, 2 * (1 + 5));
        assert_eq!(batch_cost(OutOp::Update, 0, None).calls_max, 0);
    }
}
