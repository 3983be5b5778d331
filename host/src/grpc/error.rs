//! Problems as statuses of gRPC. The table stands in `docs/protocol.md`, too.

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::http::problem::Problem;

/// The metadata that holds the whole problem as JSON.
const PROBLEM: &str = "plimsoll-problem-bin";

/// The code for a problem's word and HTTP status.
fn code(problem: &Problem) -> Code {
    let caller = problem.status().is_client_error();
    match problem.code {
        "invalid_input" | "unsupported_media_type" | "invalid_parameter" => Code::InvalidArgument,
        "tensor_mismatch" if caller => Code::InvalidArgument,
        "too_large" | "memory_limit" => Code::ResourceExhausted,
        "deadline" | "body_timeout" => Code::DeadlineExceeded,
        "overloaded" => Code::Unavailable,
        "not_found" => Code::NotFound,
        "unauthorized" => Code::Unauthenticated,
        "forbidden" => Code::PermissionDenied,
        "conflict" | "plugin_refused" => Code::FailedPrecondition,
        "method_not_allowed" => Code::Unimplemented,
        "cancelled" => Code::Cancelled,
        // `trap`, `internal`, `output_limit`, and a `tensor_mismatch` between two stages.
        _ => Code::Internal,
    }
}

/// The status of a problem, with the problem as metadata.
pub(super) fn status(problem: &Problem) -> Status {
    let mut status = Status::new(code(problem), problem.detail());
    let whole = serde_json::to_vec(problem).expect("strings and numbers");
    status.metadata_mut().insert_bin(PROBLEM, MetadataValue::from_bytes(&whole));
    status
}
