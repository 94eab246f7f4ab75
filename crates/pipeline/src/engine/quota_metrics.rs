//! The quota in `/metrics`: gauges by org and allocation.

use governor::Status;
use model::OrgId;

/// Sets the gauges. `penstock_quota_runs_out_seconds` is infinite where nothing runs out at the present rate.
pub(super) fn publish(org: &OrgId, status: &Status) {
    for row in &status.allocations {
        let labels = [("org", org.to_string()), ("allocation", row.name.clone())];
        let runs_out = row.forecast.as_ref().and_then(|forecast| forecast.runs_out);
        let siblings: u64 = row.siblings.iter().map(|sibling| sibling.spent + sibling.reserved).sum();
        metrics::gauge!("penstock_quota_max", &labels).set(row.max as f64);
        metrics::gauge!("penstock_quota_budget", &labels).set(row.budget as f64);
        metrics::gauge!("penstock_quota_spent", &labels).set(row.spent as f64);
        metrics::gauge!("penstock_quota_spent_by_others", &labels).set((row.spent_by_others + siblings) as f64);
        metrics::gauge!("penstock_quota_left", &labels).set(row.left as f64);
        metrics::gauge!("penstock_quota_runs_out_seconds", &labels)
            .set(runs_out.map_or(f64::INFINITY, |out| out.in_ms as f64 / 1000.0));
    }
    metrics::gauge!("penstock_quota_waiting", "org" => org.to_string()).set(status.waiting.len() as f64);
}
