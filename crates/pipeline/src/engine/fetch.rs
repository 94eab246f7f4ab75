//! Reading a batch's records from the log: each frame once, whatever lies between the records.

use contract::{Log, LogError};
use model::{Offset, Record, StreamPartition};

/// Bytes that are read at once where records stand close to each other.
const READ_BYTES: usize = 256 << 10;
/// Records between two wanted ones up to which reading on costs less than asking again.
const GAP_MAX: u64 = 256;
/// Records that are looked at before other tasks get their turn.
const RECORDS_PER_TURN: usize = 512;

/// Reads the records at `offsets` (strictly ascending) and gives each, with its place in `offsets`, to `take`, in order.
///
/// # Errors
/// As `Log::read`; what was given to `take` before stays given.
pub async fn fetch(
    log: &dyn Log,
    stream: &StreamPartition,
    offsets: &[Offset],
    mut take: impl FnMut(usize, &Record<'_>) + Send,
) -> Result<(), LogError> {
    let mut next = 0;
    let mut turn = RECORDS_PER_TURN;
    while next < offsets.len() {
        let close = offsets.get(next + 1).is_some_and(|after| after.0 - offsets[next].0 <= GAP_MAX);
        let batches = log.read(stream, offsets[next], if close { READ_BYTES } else { 1 }).await?;
        let before = next;
        for batch in &batches {
            let mut records = batch.records.iter();
            // The offset that `records` gives next.
            let mut at = batch.base;
            while let Some(wanted) = offsets.get(next)
                && *wanted < batch.end()
            {
                let Some(record) = records.nth((wanted.0 - at.0) as usize) else { break };
                take(next, &record);
                at = wanted.plus(1);
                next += 1;
                turn -= 1;
                if turn == 0 {
                    turn = RECORDS_PER_TURN;
                    tokio::task::yield_now().await;
                }
            }
        }
        if next == before {
            let bounds = log.bounds(stream)?;
            let of = stream.clone();
            return Err(LogError::OutOfRange { of, wanted: offsets[next], start: bounds.start, end: bounds.durable });
        }
    }
    Ok(())
}
