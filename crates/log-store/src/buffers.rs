//! Buffers for frame bodies, used again: fresh pages from the kernel cost more than reading into them.

use parking_lot::Mutex;
use std::sync::Arc;

/// The allocator serves smaller ones from pages that it has.
const POOLED_FROM_BYTES: usize = 32 << 10;
/// Larger ones are rare and would fill the pool alone.
const POOLED_TO_BYTES: usize = 4 << 20;
const SPARE_BYTES: usize = 8 << 20;
/// Capacities are rounded up to this, so that frames of about one size share buffers.
const ROUND_BYTES: usize = 64 << 10;

/// Spare buffers of one log.
#[derive(Default)]
pub(crate) struct Buffers(Mutex<Spare>);

#[derive(Default)]
struct Spare {
    list: Vec<Vec<u8>>,
    bytes: usize,
}

/// A buffer that goes back when it is dropped. `bytes` may hold old content: its length is what was initialized.
pub(crate) struct Buffer {
    pub(crate) bytes: Vec<u8>,
    home: Option<Arc<Buffers>>,
}

impl Buffers {
    /// Hands out a buffer with room for `length` bytes, and not for many times as much.
    pub(crate) fn take(self: &Arc<Self>, length: usize) -> Buffer {
        if !(POOLED_FROM_BYTES..=POOLED_TO_BYTES).contains(&length) {
            return Buffer { bytes: Vec::with_capacity(length), home: None };
        }
        let room = length.next_multiple_of(ROUND_BYTES);
        let bytes = self.0.lock().take(length, room * 2);
        let bytes = bytes.unwrap_or_else(|| Vec::with_capacity(room));
        Buffer { bytes, home: Some(Arc::clone(self)) }
    }
}

impl Spare {
    fn take(&mut self, least: usize, most: usize) -> Option<Vec<u8>> {
        let fits = |buffer: &Vec<u8>| (least..=most).contains(&buffer.capacity());
        let at = self.list.iter().rposition(fits)?;
        let buffer = self.list.swap_remove(at);
        self.bytes -= buffer.capacity();
        Some(buffer)
    }

    fn put(&mut self, buffer: Vec<u8>) {
        if self.bytes + buffer.capacity() <= SPARE_BYTES {
            self.bytes += buffer.capacity();
            self.list.push(buffer);
        }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(home) = &self.home {
            home.0.lock().put(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_buffers_are_used_again_for_similar_lengths_only() {
        let buffers = Arc::new(Buffers::default());
        let first = buffers.take(500_000);
        let place = first.bytes.as_ptr();
        drop(first);
        assert_ne!(buffers.take(40_000).bytes.as_ptr(), place, "it would waste most of it");
        assert_eq!(buffers.take(510_000).bytes.as_ptr(), place);
    }

    #[test]
    fn spare_buffers_are_bounded() {
        let buffers = Arc::new(Buffers::default());
        let many: Vec<_> = (0..40).map(|_| buffers.take(1 << 20)).collect();
        drop(many);
        let spare = buffers.0.lock();
        assert!(spare.bytes <= SPARE_BYTES);
        assert_eq!(spare.bytes, spare.list.iter().map(Vec::capacity).sum::<usize>());
    }
}
