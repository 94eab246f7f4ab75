//! Moments, lengths of time and forecasts in words.

use serde_json::Value;
use time::OffsetDateTime;

/// `16:40 UTC`.
pub(super) fn clock(unix_ms: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(unix_ms.div_euclid(1000)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!("{:02}:{:02} UTC", at.hour(), at.minute())
}

/// `40 s`, `12 min`, `3 h 20 min`.
pub(super) fn length(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        _ if seconds > 0 && seconds % 3600 == 0 => format!("{} h", seconds / 3600),
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        _ if seconds % 3600 < 60 => format!("{} h", seconds / 3600),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// The forecast of a row as one sentence: `API requests end at 16:40 UTC at this rate: 62 % by route requests`.
pub(super) fn forecast(row: &Value) -> Option<String> {
    let forecast: governor::Forecast = serde_json::from_value(row["forecast"].clone()).ok()?;
    Some(forecast.sentence(row["words"].as_str()?, &clock))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lengths_and_moments_read_well() {
        assert_eq!(clock(1_700_000_000_000), "22:13 UTC");
        let read: Vec<String> =
            [0, 90_000, 720_000, 3_600_000, 12_000_000, 90_000_000].into_iter().map(length).collect();
        assert_eq!(read, ["0 s", "90 s", "12 min", "1 h", "3 h 20 min", "25 h"]);
    }

    #[test]
    fn a_forecast_names_the_moment_and_the_reason() {
        let row = json!({"words": "API requests", "forecast": {
            "runs_out": {"in_ms": 60_000, "at_unix_ms": 1_700_000_000_000_i64, "of_share": true},
            "per_hour": 100.0, "per_hour_by_lane": [0.0, 100.0, 0.0],
            "per_hour_by_route": [["requests", 62.0], ["agencies", 38.0]],
        }});
        assert_eq!(
            forecast(&row).expect("a forecast"),
            "API requests end at 22:13 UTC at this rate: 62 % by route requests"
        );
    }
}
