//! A batch made ready to be written, as far as that is possible without the lock.

use super::Partition;
use crate::format::compress::Payload;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, encode_producer};
use contract::{LogError, ProducerState};
use model::RecordBatch;

/// The contract's limit for a producer's position.
const PRODUCER_POSITION_BYTES_MAX: usize = 4 << 10;
const PRODUCER_ID_BYTES_MAX: usize = 255;

/// A compressed batch with everything but its offset.
pub(crate) struct Prepared {
    pub(super) batch: RecordBatch,
    pub(super) producer: Option<ProducerState>,
    producer_bytes: Vec<u8>,
    payload: Payload,
    body_crc: u32,
}

impl Partition {
    /// Compresses and checksums a batch.
    ///
    /// # Errors
    /// `TooLarge` when the batch or the producer's state is over its limit.
    pub(crate) fn prepare(&self, batch: RecordBatch, producer: Option<ProducerState>) -> Result<Prepared, LogError> {
        let refuse = |bytes: usize, limit: usize| {
            if bytes > limit { Err(LogError::TooLarge { bytes, limit }) } else { Ok(()) }
        };
        refuse(batch.bytes().len(), self.options.batch_bytes_max)?;
        if let Some(state) = &producer {
            refuse(state.position.len(), PRODUCER_POSITION_BYTES_MAX)?;
            refuse(state.producer.as_str().len(), PRODUCER_ID_BYTES_MAX)?;
        }
        let producer_bytes =
            producer.as_ref().map(|state| encode_producer(&state.producer, &state.position)).unwrap_or_default();
        let payload = self.compressor.compress(batch.bytes());
        let body_crc = crc32c::crc32c_append(crc32c::crc32c(&producer_bytes), payload.bytes());
        Ok(Prepared { batch, producer, producer_bytes, payload, body_crc })
    }
}

impl Prepared {
    /// True when there is nothing to write.
    pub(super) fn is_nothing(&self) -> bool {
        self.batch.is_empty() && self.producer.is_none()
    }

    /// Bytes in the file.
    pub(super) fn frame_bytes(&self) -> u64 {
        (FRAME_HEADER_BYTES + self.producer_bytes.len() + self.payload.bytes().len()) as u64
    }

    /// Makes the header, now that the place is known.
    pub(super) fn header(&self, base: u64, durable_bytes: u64) -> FrameHeader {
        let (time_min_ms, time_max_ms) = self.batch.time_range_ms();
        FrameHeader {
            // Both lengths are under the limit of `prepare`; a compressed payload is shorter than its batch.
            stored_bytes: self.payload.bytes().len() as u32,
            raw_bytes: self.batch.bytes().len() as u32,
            count: self.batch.count(),
            producer_bytes: self.producer_bytes.len() as u16,
            stored_as: self.payload.stored_as(),
            kind: FrameKind::Records,
            base,
            time_min_ms,
            time_max_ms,
            durable_bytes,
            body_crc: self.body_crc,
        }
    }

    /// What follows the header in the file.
    pub(super) fn body(&self) -> [&[u8]; 2] {
        [&self.producer_bytes, self.payload.bytes()]
    }
}
