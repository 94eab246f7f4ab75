//! Says, for as long as a source waits for room in its stream, how much WAL its database keeps meanwhile.

use crate::status_view::StatusView;
use std::sync::Arc;
use std::time::Duration;

/// Between two warnings: the figure is looked up about as often.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// Warns until it is dropped.
pub async fn watch(view: Arc<StatusView>) {
    loop {
        tokio::time::sleep(TELL_EVERY).await;
        let waiting: Vec<String> = view.waiting_streams();
        if waiting.is_empty() {
            continue;
        }
        for (source, status) in &view.sources {
            let retained_bytes = status.borrow().retained_bytes;
            tracing::warn!(
                %source,
                retained_bytes,
                streams = waiting.join(" "),
                code = pipeline::overflow::SOURCE_WAITS,
                "a full stream makes its source wait; the slot makes the database keep this much WAL"
            );
        }
    }
}
