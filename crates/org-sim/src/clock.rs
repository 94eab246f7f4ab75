//! The org's time: the machine's clock, moved by an offset, or one that stands still until a test moves it.

use std::sync::atomic::{AtomicI64, Ordering};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// A clock that a test may move.
#[derive(Debug)]
pub struct OrgClock {
    /// None: the machine's clock.
    fixed: Option<AtomicI64>,
    offset_ms: AtomicI64,
    moved: Notify,
}

impl OrgClock {
    /// The machine's clock.
    pub fn machine() -> Self {
        Self { fixed: None, offset_ms: AtomicI64::new(0), moved: Notify::new() }
    }

    /// A clock that stands at `now_ms` (Unix milliseconds) until it is advanced.
    pub fn standing(now_ms: i64) -> Self {
        Self { fixed: Some(AtomicI64::new(now_ms)), offset_ms: AtomicI64::new(0), moved: Notify::new() }
    }

    /// Unix milliseconds.
    #[allow(clippy::disallowed_methods, reason = "the simulated org is a world of its own: its time enters here only")]
    pub fn now_ms(&self) -> i64 {
        let base = match &self.fixed {
            Some(fixed) => fixed.load(Ordering::Relaxed),
            None => std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |since| since.as_millis() as i64),
        };
        base + self.offset_ms.load(Ordering::Relaxed)
    }

    /// Moves the clock forward.
    pub fn advance_ms(&self, by_ms: i64) {
        self.offset_ms.fetch_add(by_ms, Ordering::Relaxed);
        self.moved.notify_waiters();
    }

    /// Ends when the clock is moved after this call.
    pub fn moved(&self) -> Notified<'_> {
        self.moved.notified()
    }
}
