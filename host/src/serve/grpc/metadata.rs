//! The metadata of calls and of their answers.

use std::time::Duration;

use tonic::metadata::{MetadataMap, MetadataValue};

use crate::records::RequestSummary;
use crate::serve::headers::{self, summary_headers};

/// Parses `grpc-timeout`, the time-out that the caller sets. `None` if it is missing or not valid.
pub(super) fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number = headers::number(number)?;
    Some(match unit {
        "H" => Duration::from_secs(number.saturating_mul(3600)),
        "M" => Duration::from_secs(number.saturating_mul(60)),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Sets the same values as metadata that HTTP sends as headers.
pub(super) fn set_metadata(metadata: &mut MetadataMap, summary: &RequestSummary) {
    for (name, value) in summary_headers(summary) {
        if let Ok(value) = MetadataValue::try_from(value) {
            metadata.insert(name, value);
        }
    }
}
