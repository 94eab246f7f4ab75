//! The source: sessions one after the other, with growing waits between failures.

use crate::catalog::load_types;
use crate::check::check;
use crate::config::PostgresConfig;
use crate::connect::{Endpoint, Sql};
use crate::session::run_session;
use crate::survey::load_tables;
use async_trait::async_trait;
use contract::{Source, SourceContext, SourceEnd, SourceError};
use model::{ErrorCode, Finding, Lsn, Retry, TableSchema};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::Duration;

/// A session that lasted this long was a good one: the next failure starts from the shortest wait again.
const GOOD_SESSION: Duration = Duration::from_secs(10);

/// A PostgreSQL database as a source of changes.
#[derive(Clone, Debug)]
pub struct PostgresSource {
    config: PostgresConfig,
}

impl PostgresSource {
    /// Takes the configuration; nothing is connected yet.
    pub fn new(config: PostgresConfig) -> Self {
        Self { config }
    }

    /// The configuration.
    pub fn config(&self) -> &PostgresConfig {
        &self.config
    }

    /// Writes an empty message of our own into the WAL and returns where it ends: once that is confirmed, everything that
    /// was committed before this call is durable in the log.
    ///
    /// # Errors
    /// `SourceError` when the server cannot be reached or refuses.
    pub async fn mark_wal_end(&self) -> Result<Lsn, SourceError> {
        let sql = Sql::connect(&self.endpoint()?).await?;
        let statement = "select pg_logical_emit_message(true, 'penstock.mark', '')";
        let text = sql.text(statement, "marking the end of the WAL").await?.unwrap_or_default();
        text.parse().map_err(|message| SourceError::Transient { code: ErrorCode("PS2115"), message })
    }

    fn endpoint(&self) -> Result<Endpoint, SourceError> {
        Ok(Endpoint::parse(&self.config.url, self.config.connect_timeout)?)
    }
}

#[async_trait]
impl Source for PostgresSource {
    async fn check(&self) -> Vec<Finding> {
        check(&self.config).await
    }

    async fn tables(&self) -> Result<Vec<TableSchema>, SourceError> {
        let sql = Sql::connect(&self.endpoint()?).await?;
        let types = load_types(&sql).await?;
        let tables = load_tables(&sql, &self.config.tables).await?;
        Ok(tables.iter().map(|facts| facts.schema(&types)).collect())
    }

    async fn run(&self, ctx: SourceContext) -> Result<SourceEnd, SourceError> {
        let endpoint = self.endpoint()?;
        let reconnects = metrics::counter!("penstock_source_reconnects_total", "source" => ctx.source.to_string());
        let mut backoff = Backoff::new(self.config.backoff, ctx.seed);
        for session in 0u64.. {
            let began = ctx.clock.monotonic();
            // Opening a session may wait on the server (a slot is made only when running transactions have ended).
            let ended = run_session(&ctx, &self.config, &endpoint, session).await;
            ctx.status.send_modify(|status| status.connected = false);
            let Err(error) = ended else { break };
            let Retry::After(least) = error.retry() else { return Err(error) };
            if ctx.clock.monotonic().saturating_sub(began) > GOOD_SESSION {
                backoff.reset();
            }
            let wait = match &error {
                // The log says itself how long it needs.
                SourceError::Log(_) | SourceError::State(_) => backoff.next().max(least.min(self.config.backoff.1)),
                _ => backoff.next(),
            };
            tracing::warn!(source = %ctx.source, %error, ?wait, "the capture was interrupted and will go on");
            reconnects.increment(1);
            ctx.status.send_modify(|status| {
                status.reconnects += 1;
                status.last_error = Some(error.to_string());
            });
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = ctx.stop.cancelled() => break,
            }
        }
        Ok(SourceEnd::Stopped)
    }
}

/// Waits that double, each shortened by a random part so that many sources do not come back at once.
struct Backoff {
    bounds: (Duration, Duration),
    next: Duration,
    rng: StdRng,
}

impl Backoff {
    fn new(bounds: (Duration, Duration), seed: u64) -> Self {
        Self { bounds, next: bounds.0, rng: StdRng::seed_from_u64(seed) }
    }

    fn reset(&mut self) {
        self.next = self.bounds.0;
    }

    fn next(&mut self) -> Duration {
        let wait = self.next.mul_f64(self.rng.random_range(0.5..=1.0));
        self.next = (self.next * 2).min(self.bounds.1);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_repeat_by_seed_and_start_anew() {
        let bounds = (Duration::from_millis(100), Duration::from_secs(1));
        let waits = |seed: u64| {
            let mut backoff = Backoff::new(bounds, seed);
            (0..8).map(|_| backoff.next()).collect::<Vec<_>>()
        };
        assert_eq!(waits(7), waits(7));
        assert!(waits(7).iter().all(|wait| *wait >= bounds.0 / 2 && *wait <= bounds.1));
        assert!(waits(7)[7] >= bounds.1 / 2);
        let mut backoff = Backoff::new(bounds, 7);
        let _grown = (0..5).map(|_| backoff.next()).max();
        backoff.reset();
        assert!(backoff.next() <= bounds.0);
    }
}
