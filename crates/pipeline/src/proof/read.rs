//! Reading a stretch of a stream record by record.

use super::report::ProofError;
use contract::{Log, LogError};
use model::{Offset, Record, StreamPartition};

/// Decompressed bytes of one read: some hundred batches, well above the log's own batch size.
const READ_BYTES: usize = 4 << 20;

/// Calls `take` for each record of `[from, to)`, in order. The bounds are inside the durable part.
///
/// # Errors
/// `Trimmed` when retention overtook the reading; as `Log::read`.
pub(super) async fn each(
    log: &dyn Log,
    of: &StreamPartition,
    (from, to): (Offset, Offset),
    mut take: impl FnMut(Offset, Record<'_>),
) -> Result<(), ProofError> {
    let mut at = from;
    while at < to {
        let batches = log.read(of, at, READ_BYTES).await.map_err(|error| match error {
            LogError::OutOfRange { start, .. } if start > at => {
                ProofError::Trimmed { of: of.clone(), start, wanted: at }
            }
            other => ProofError::Log(other),
        })?;
        if batches.is_empty() {
            // The durable end lies below `to`: the caller asked for more than there is.
            return Ok(());
        }
        for batch in batches {
            let skip = at.0.saturating_sub(batch.base.0);
            for (offset, record) in (batch.base.0 + skip..to.0).zip(batch.records.iter().skip(skip as usize)) {
                take(Offset(offset), record);
            }
            at = batch.end().max(at);
        }
    }
    Ok(())
}

/// The durable part of a partition; empty when the stream is not there.
pub(super) fn durable(log: &dyn Log, of: &StreamPartition) -> Result<(Offset, Offset), ProofError> {
    match log.bounds(of) {
        Ok(bounds) => Ok((bounds.start, bounds.durable)),
        Err(LogError::NoStream { .. }) => Ok((Offset(0), Offset(0))),
        Err(error) => Err(error.into()),
    }
}
