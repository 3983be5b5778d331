//! Converts a [`ServeError`] to a gRPC status. `docs/protocol.md` has the same table. Two other places create
//! a status: `budget.rs` (`CANCELLED`, for a message whose client is gone) and `metadata.rs` (for a `grpc-timeout` that
//! cannot be read).

use plimsoll_runtime::outcome::Outcome;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::serve::error::{ErrorKind, ServeError};
use crate::serve::problem::Problem;

/// The metadata key of the error as problem JSON, the same JSON that HTTP sends (RFC 9457).
const PROBLEM: &str = "plimsoll-problem-bin";

/// Maximum bytes of the text of an error.
const MAX_DETAIL: usize = 1 << 10;

/// Maximum bytes of the text in both of its encoded forms. Clients refuse headers of more than 8 KiB, and with them the whole
/// answer.
const MAX_ENCODED: usize = 4 << 10;

fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::InvalidRequest
        | ErrorKind::InvalidParameter
        | ErrorKind::TensorMismatch
        | ErrorKind::UnsuitableForm
        | ErrorKind::UnsupportedEncoding => Code::InvalidArgument,
        ErrorKind::BodyTooLarge | ErrorKind::CallerLimit(_) => Code::ResourceExhausted,
        ErrorKind::BodyTimeout | ErrorKind::QueueDeadline => Code::DeadlineExceeded,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::MethodNotAllowed | ErrorKind::UnsupportedTransferCoding => Code::Unimplemented,
        ErrorKind::Unauthorized => Code::Unauthenticated,
        ErrorKind::Conflict | ErrorKind::PluginRejected | ErrorKind::NotDurable | ErrorKind::MisdirectedRequest => {
            Code::FailedPrecondition
        }
        ErrorKind::Overloaded => Code::Unavailable,
        ErrorKind::Internal => Code::Internal,
        ErrorKind::Stage(_, outcome) => stage_code(outcome),
    }
}

fn stage_code(outcome: Outcome) -> Code {
    match outcome {
        Outcome::UnsupportedMediaType | Outcome::InvalidInput => Code::InvalidArgument,
        Outcome::TooLarge | Outcome::MemoryLimit => Code::ResourceExhausted,
        Outcome::Deadline => Code::DeadlineExceeded,
        Outcome::NoCapacity | Outcome::DeviceFailure => Code::Unavailable,
        Outcome::Cancelled => Code::Cancelled,
        // This mismatch is between two stages, so it is not the caller's error.
        Outcome::Ok | Outcome::Internal | Outcome::TensorMismatch | Outcome::OutputLimit | Outcome::Trap => {
            Code::Internal
        }
    }
}

/// Returns the status of an error, with the problem JSON as metadata.
pub(in crate::serve) fn status(error: &ServeError) -> Status {
    let mut longest = MAX_DETAIL;
    let (detail, problem) = loop {
        let detail = &error.detail[..error.detail.floor_char_boundary(longest)];
        let problem = Problem::json_with(error, longest);
        // `grpc-message` is percent-encoded, and binary metadata are in Base64.
        let encoded: usize = detail.bytes().map(|byte| if matches!(byte, b' '..=b'~') { 1 } else { 3 }).sum();
        if longest == 0 || encoded + problem.len() * 4 / 3 <= MAX_ENCODED {
            break (detail, problem);
        }
        longest /= 2;
    };
    let mut status = Status::new(code(error.kind), detail);
    status.metadata_mut().insert_bin(PROBLEM, MetadataValue::from_bytes(&problem));
    status
}
