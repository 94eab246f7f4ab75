//! Tells upstream what it may forget.

use crate::slot::{SlotRecord, write_record};
use contract::{AcceptedEnd, CrashPoint, SourceContext, SourceError};
use model::{Lsn, StreamPartition};
use std::time::Duration;
use tokio::sync::watch;

/// Everything below `lsn` is in the log once these ends are durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) lsn: Lsn,
    pub(crate) ends: Vec<(StreamPartition, AcceptedEnd)>,
}

/// Waits for each target to be durable, writes it down and publishes it; at most once per `interval`, the newest target
/// each time. Ends after the last target when the sender is gone.
pub(crate) async fn confirm(
    ctx: SourceContext,
    mut record: SlotRecord,
    mut targets: watch::Receiver<Target>,
    confirmed: watch::Sender<Lsn>,
    interval: Duration,
) -> Result<(), SourceError> {
    let gauge = metrics::gauge!("penstock_source_confirmed_lsn_bytes", "source" => ctx.source.to_string());
    let mut open = true;
    while open {
        open = targets.changed().await.is_ok();
        let target = targets.borrow_and_update().clone();
        for (of, end) in &target.ends {
            ctx.log.until_durable(of, *end).await?;
        }
        if target.lsn > *confirmed.borrow() {
            ctx.crash.reach(CrashPoint::BeforeConfirm);
            if target.lsn > record.allowed {
                record.allowed = target.lsn;
                write_record(&ctx, &record).await?;
            }
            confirmed.send_replace(target.lsn);
            gauge.set(target.lsn.0 as f64);
            ctx.status.send_modify(|status| status.confirmed_lsn = target.lsn);
        }
        if open {
            // The end of the run ends the wait: the last target must not wait for it.
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = ctx.stop.cancelled() => {}
            }
        }
    }
    Ok(())
}
