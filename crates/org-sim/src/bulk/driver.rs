//! Keeps the work on jobs going while the org serves.

use super::work::Work;
use crate::server::Shared;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Steps that are done before others may have the org.
const STEPS: usize = 8;

/// Longest wait for a time of the org's clock; a clock that is moved wakes the work earlier.
const WAIT_MS: i64 = 60_000;

/// Works on jobs until `stop`.
pub async fn drive(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        // Made before the work is looked at, so that what comes in between is not missed.
        let woken = shared.woken.notified();
        let moved = shared.clock.moved();
        let released = shared.released.notified();
        let work = some(&shared);
        let wait = match work {
            Work::Now => {
                if stop.is_cancelled() {
                    return;
                }
                tokio::task::yield_now().await;
                continue;
            }
            Work::At(ms) => (ms - shared.clock.now_ms()).clamp(1, WAIT_MS),
            Work::Nothing => WAIT_MS,
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = woken => {}
            () = moved => {}
            () = released => {}
            () = tokio::time::sleep(Duration::from_millis(wait as u64)) => {}
        }
    }
}

fn some(shared: &Shared) -> Work {
    let mut work = Work::Now;
    let mut steps = 0;
    {
        let mut org = shared.org.lock();
        while work == Work::Now && steps < STEPS {
            work = org.work(shared.clock.now_ms());
            steps += usize::from(work == Work::Now);
        }
    }
    // Any step may have given locks back that a request waits for.
    if steps > 0 {
        shared.released.notify_waiters();
    }
    work
}
