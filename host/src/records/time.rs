//! Timestamps in reports and recordings.

use std::time::SystemTime;

use humantime_serde::re::humantime::format_rfc3339_millis;

/// The current time in UTC, in RFC 3339 format with milliseconds.
pub fn timestamp() -> String {
    format_rfc3339_millis(SystemTime::now()).to_string()
}
