//! Timestamps in reports and recordings.

use std::time::SystemTime;

use humantime_serde::re::humantime::format_rfc3339_millis;

/// The current time in UTC, in RFC 3339 format with milliseconds.
pub fn timestamp() -> String {
    format_rfc3339_millis(SystemTime::now()).to_string()
}

/// Seconds since 1970, for metrics.
pub fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
