//! From commit times and the org's history to figures.

use anyhow::{Context, bail};
use org_sim::HistoryEntry;
use penstock::demo::stage::Stage;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;
use tokio_postgres::Client;

/// How long committed rows may take to be applied after the load has ended.
const PATIENCE: Duration = Duration::from_secs(120);
/// The load's first part is left out of the figures: connections are still being made.
pub const WARM_UP: Duration = Duration::from_secs(1);
const SYNCS: usize = 200;

/// The figures of one load.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Phase {
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    /// As PostgreSQL committed them.
    pub commits_per_second: f64,
    pub commits: u64,
    pub rows_per_call: f64,
    /// Of one core.
    pub worker_cpu_percent: f64,
}

/// Commit times of the audit's entries after `seq`: revision → Unix microseconds.
///
/// # Errors
/// The database's own error.
pub async fn commit_times(client: &Client, seq: i64) -> anyhow::Result<HashMap<i64, i64>> {
    let sql = "select revision, (extract(epoch from pg_xact_commit_timestamp(xmin)) * 1000000)::bigint \
               from shop.audit where seq > $1 and revision is not null";
    let rows = client.query(sql, &[&seq]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// What the org's history says of the revisions that are looked for.
#[derive(Default)]
pub struct AppliedTimes {
    /// Revision → Unix milliseconds; the first time counts.
    at: HashMap<i64, i64>,
    requests: HashSet<u64>,
    rows: u64,
}

impl AppliedTimes {
    fn push(&mut self, entry: &HistoryEntry, wanted: &HashMap<i64, i64>) {
        let revision = entry.after("Revision__c").and_then(|value| value.as_f64());
        let Some(revision) = revision.map(|number| number as i64).filter(|number| wanted.contains_key(number)) else {
            return;
        };
        self.rows += 1;
        self.requests.insert(entry.request);
        self.at.entry(revision).or_insert(entry.at);
    }

    /// Reads the history after `seq` until every revision was applied.
    ///
    /// # Errors
    /// When revisions are still missing after two minutes.
    pub async fn collect(stage: &Stage, mut seq: u64, wanted: &HashMap<i64, i64>) -> anyhow::Result<Self> {
        let mut applied = Self::default();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while applied.at.len() < wanted.len() {
            let page = stage.org.history_after(seq, 2_000);
            if let Some(last) = page.last() {
                seq = last.seq;
                page.iter().for_each(|entry| applied.push(entry, wanted));
                tokio::task::yield_now().await;
                continue;
            }
            if tokio::time::Instant::now() > deadline {
                let missing = wanted.len() - applied.at.len();
                bail!("{missing} of {} committed rows were not applied within {PATIENCE:?}", wanted.len());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(applied)
    }

    /// Compares with the commit times. Empty when nothing was committed after the warm-up.
    pub fn figures(&self, committed: &HashMap<i64, i64>) -> Phase {
        let first = committed.values().min().copied().unwrap_or_default();
        let last = committed.values().max().copied().unwrap_or_default();
        let from = first + WARM_UP.as_micros() as i64;
        let mut delays: Vec<f64> = committed
            .iter()
            .filter(|(_, at)| **at >= from)
            .filter_map(|(revision, at)| Some(delay_ms(*at, *self.at.get(revision)?)))
            .collect();
        delays.sort_by(f64::total_cmp);
        let seconds = (last - from).max(1) as f64 / 1_000_000.0;
        Phase {
            p50_ms: rounded(percentile(&delays, 0.5)),
            p99_ms: rounded(percentile(&delays, 0.99)),
            max_ms: rounded(percentile(&delays, 1.0)),
            commits_per_second: (delays.len() as f64 / seconds).round(),
            commits: delays.len() as u64,
            rows_per_call: rounded(self.rows as f64 / self.requests.len().max(1) as f64),
            worker_cpu_percent: 0.0,
        }
    }
}

/// From a commit to the end of the millisecond in which the row was applied.
fn delay_ms(committed_us: i64, applied_ms: i64) -> f64 {
    ((applied_ms + 1) * 1_000 - committed_us) as f64 / 1_000.0
}

/// The nearest rank; `sorted` ascending. Zero when empty.
fn percentile(sorted: &[f64], part: f64) -> f64 {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or_default()
}

/// Two digits after the point.
pub fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// The most memory that a process held so far, in MB (`VmHWM`).
///
/// # Errors
/// When the process is gone.
pub fn peak_rss_mb(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM in /proc/PID/status")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes.div_ceil(1024))
}

/// The processor time that a process has used, user and system.
///
/// # Errors
/// When the process is gone.
pub fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold spaces; it ends at the last parenthesis. Then: state is field 3, utime 14, stime 15 (proc(5)).
    let (_, rest) = stat.rsplit_once(')').context("/proc/PID/stat has no name")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks =
        |index: usize| -> anyhow::Result<u64> { Ok(fields.get(index).context("/proc/PID/stat is short")?.parse()?) };
    // Linux gives these in hundredths of a second on every architecture (USER_HZ).
    Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
}

/// What one small durable write costs on this disk at this moment: median and 99th percentile, milliseconds.
///
/// # Errors
/// The operating system's.
pub fn disk_sync_ms(folder: &Path) -> anyhow::Result<(f64, f64)> {
    use contract::{Clock, SystemClock};
    use std::io::Write;
    let clock = SystemClock::new();
    let mut file = tempfile::tempfile_in(folder)?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let began = clock.monotonic();
        file.write_all(&[0x5a; 4096])?;
        file.sync_data()?;
        times.push((clock.monotonic() - began).as_secs_f64() * 1_000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok((rounded(percentile(&times, 0.5)), rounded(percentile(&times, 0.99))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_is_the_nearest_rank() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&hundred, 0.5), 50.0);
        assert_eq!(percentile(&hundred, 0.99), 99.0);
        assert_eq!(percentile(&hundred, 1.0), 100.0);
        assert_eq!(percentile(&[7.0], 0.99), 7.0);
        assert_eq!(percentile(&[], 0.5), 0.0);
    }

    #[test]
    fn delay_is_never_told_too_short() {
        // Applied at some moment of millisecond 12: at most 13.
        assert_eq!(delay_ms(10_250, 12), 2.75);
    }

    #[test]
    fn figures_leave_the_warm_up_out_and_count_what_was_committed() {
        let second = 1_000_000;
        let committed: HashMap<i64, i64> = (0..4_000).map(|n| (n, n * 1_000)).collect();
        let at = committed
            .iter()
            .map(|(revision, at)| (*revision, (at + if *at < second { 500_000 } else { 4_000 }) / 1_000));
        let applied = AppliedTimes { at: at.collect(), requests: HashSet::from([1, 2]), rows: 4_000 };
        let phase = applied.figures(&committed);
        assert_eq!((phase.p50_ms, phase.max_ms, phase.commits), (5.0, 5.0, 3_000));
        assert_eq!(phase.commits_per_second, 1_000.0);
        assert_eq!(phase.rows_per_call, 2_000.0);
    }

    #[test]
    fn own_process_has_memory_and_processor_time() {
        let pid = std::process::id();
        assert!(peak_rss_mb(pid).unwrap() > 0);
        assert!(cpu_time(pid).is_ok());
    }
}
