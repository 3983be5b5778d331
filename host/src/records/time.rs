//! Timestamps in reports and recordings.

use std::time::{Duration, SystemTime};

use humantime_serde::re::humantime::format_rfc3339_millis;

/// The current time in UTC, in RFC 3339 format with milliseconds.
pub fn timestamp() -> String {
    format_rfc3339_millis(representable(SystemTime::now())).to_string()
}

/// A time of a file or of a clock that is wrong, as one that RFC 3339 can write: from 1970 to 9999.
pub fn representable(time: SystemTime) -> SystemTime {
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    time.clamp(SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + LAST)
}

/// Seconds since 1970, for metrics.
pub fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
