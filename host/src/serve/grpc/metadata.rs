//! The metadata of calls and of their answers.

use std::time::Duration;

use tonic::Status;
use tonic::metadata::{MetadataMap, MetadataValue};

use crate::records::RequestSummary;
use crate::serve::headers::{self, summary_headers};

/// Parses `grpc-timeout`, the time-out that the caller sets. `None` if it is missing.
///
/// # Errors
/// If it is not valid: at most eight digits and a unit
/// ([gRPC over HTTP/2](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md)), once. A call that ran without the time-out
/// that its caller set would hold a place for a caller that is gone.
pub(super) fn timeout(metadata: &MetadataMap) -> Result<Option<Duration>, Status> {
    let mut values = metadata.get_all("grpc-timeout").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(parse_timeout).filter(|_| values.next().is_none());
    let invalid =
        || Status::invalid_argument("`grpc-timeout` must be at most eight digits and a unit, for example 100m, once");
    parsed.map(Some).ok_or_else(invalid)
}

fn parse_timeout(text: &str) -> Option<Duration> {
    const MAX_DIGITS: usize = 8;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number = headers::number(number).filter(|_| number.len() <= MAX_DIGITS)?;
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
