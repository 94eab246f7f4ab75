//! What the first copy of a table costs.

use super::facts::RouteFacts;
use super::report::{ApiWork, CopyPlan, Work};
use super::ways::Ways;
use model::Lane;

/// Plans the rows that are still to be copied, lane by lane: rows of different lanes never share a batch.
pub(super) fn plan(route: &RouteFacts, ways: &Ways<'_>) -> CopyPlan {
    let Some(rows) = route.rows else {
        return CopyPlan { counted: None, by: Vec::new(), total: Work::default(), seconds: 0.0 };
    };
    let mut by: Vec<ApiWork> = Vec::new();
    let mut seconds: f64 = 0.0;
    let counts = share_out(rows.rows as f64 * route.passes.clamp(0.0, 1.0), route.copy_lanes.0);
    for (lane, count) in Lane::ALL.into_iter().zip(counts) {
        seconds += lane_plan(route, ways, lane, count, &mut by);
    }
    let total = by.iter().map(|part| part.work).sum();
    CopyPlan { counted: Some(rows.counted), by, total, seconds }
}

/// Whole rows by lane; what rounding leaves over goes to the largest part, so that the sum stays.
fn share_out(rows: f64, parts: [f64; 3]) -> [u64; 3] {
    let total = rows.round() as u64;
    let mut counts = parts.map(|part| (rows * part).round() as u64);
    let largest = (0..3).max_by(|a, b| parts[*a].total_cmp(&parts[*b])).unwrap_or(0);
    let others: u64 = (0..3).filter(|lane| *lane != largest).map(|lane| counts[lane]).sum();
    counts[largest] = total.saturating_sub(others);
    counts
}

/// Plans one lane; returns how long the org takes for it.
fn lane_plan(route: &RouteFacts, ways: &Ways<'_>, lane: Lane, count: u64, by: &mut Vec<ApiWork>) -> f64 {
    let (mut left, mut seconds) = (count, 0.0);
    while left > 0 {
        let waiting = left.min(ways.waiting_max());
        let Some(way) = ways.choose(route.op, lane, waiting) else { return seconds };
        let rows = way.rows.clamp(1, waiting);
        // What is left after these full batches is looked at again: a small rest may go another way.
        let batches = if waiting < left { (left - waiting).div_ceil(rows).max(1) } else { left / rows };
        let batches = batches.max(1);
        let spend = ways.spend(way.api, route.op, rows as usize);
        let records = (batches * rows).min(left);
        let work = ways.work(records as f64, batches as f64, spend);
        seconds += (batches as f64 / ways.in_flight(way.api)).ceil() * ways.time(way.api, rows as f64).as_secs_f64();
        left -= records;
        match by.iter_mut().find(|part| part.api == way.api && part.lane == lane) {
            Some(part) => part.work += work,
            None => by.push(ApiWork { api: way.api, lane, work, reason: way.reason }),
        }
    }
    seconds
}

#[cfg(test)]
mod tests {
    use super::share_out;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_are_shared_out_whole(rows in 0u32..1_000_000, a in 0.0f64..1.0, b in 0.0f64..1.0) {
            let (a, b) = if a + b > 1.0 { (a / 2.0, b / 2.0) } else { (a, b) };
            let counts = share_out(f64::from(rows), [a, b, 1.0 - a - b]);
            prop_assert_eq!(counts.iter().sum::<u64>(), u64::from(rows));
        }
    }
}
