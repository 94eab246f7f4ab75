//! What runs beside the capture: heartbeats, and the look at lag and retained WAL.

use crate::config::PostgresConfig;
use crate::connect::Sql;
use crate::refusal::literal;
use contract::{SourceContext, SourceError};
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior};

/// The prefix of heartbeat messages in the WAL.
const HEARTBEAT_PREFIX: &str = "penstock.heartbeat";

const LAG_SQL: &str = "\
SELECT coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn), 0)::int8, \
coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::int8, coalesce(wal_status, '') \
FROM pg_catalog.pg_replication_slots WHERE slot_name = $1";

/// Writes heartbeats and keeps the status' lag up to date until the connection breaks.
pub(crate) async fn run_side(ctx: SourceContext, config: PostgresConfig, sql: Sql) -> Result<(), SourceError> {
    let mut heartbeats = (!config.heartbeat.is_zero()).then(|| every(config.heartbeat));
    let mut looks = every(config.status_interval.max(Duration::from_millis(100)));
    let heartbeat = format!(
        "SELECT pg_logical_emit_message(true, '{HEARTBEAT_PREFIX}', {})",
        literal(&format!("{}/{}", ctx.source, config.slot))
    );
    loop {
        tokio::select! {
            () = tick(heartbeats.as_mut()) => {
                sql.text(&heartbeat, "writing a heartbeat").await?;
            }
            _ = looks.tick() => look(&ctx, &config, &sql).await?,
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn tick(interval: Option<&mut Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

async fn look(ctx: &SourceContext, config: &PostgresConfig, sql: &Sql) -> Result<(), SourceError> {
    let failed = sql.failed("looking at the slot");
    let Some(row) = sql.query_opt(LAG_SQL, &[&config.slot]).await.map_err(&failed)? else { return Ok(()) };
    let bytes = |index: usize| row.try_get::<_, i64>(index).map(|bytes| bytes.max(0) as u64);
    let (lag, retained) = (bytes(0).map_err(&failed)?, bytes(1).map_err(&failed)?);
    let wal_status: String = row.try_get(2).map_err(&failed)?;
    if wal_status == "unreserved" {
        tracing::warn!(slot = %config.slot, retained, "the server is about to remove WAL that the slot needs (max_slot_wal_keep_size)");
    }
    let label = ctx.source.to_string();
    metrics::gauge!("penstock_source_lag_bytes", "source" => label.clone()).set(lag as f64);
    metrics::gauge!("penstock_source_retained_wal_bytes", "source" => label).set(retained as f64);
    ctx.status.send_modify(|status| (status.lag_bytes, status.retained_bytes) = (lag, retained));
    Ok(())
}
