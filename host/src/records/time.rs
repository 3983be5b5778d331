//! Times in reports and recordings.

use std::time::SystemTime;

use humantime_serde::re::humantime::format_rfc3339_millis;

/// The current time in the format of RFC 3339, UTC.
pub fn timestamp() -> String {
    format_rfc3339_millis(SystemTime::now()).to_string()
}
