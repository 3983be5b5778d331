//! How a call ended.

use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::stage::StageError;

/// The outcome of a call.
pub fn outcome(result: &Result<(), StageError>) -> Outcome {
    result.as_ref().map_or_else(|error| error.outcome, |()| Outcome::Ok)
}

/// Returns true if an instance can be called again after a call with this outcome.
pub fn survives(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Ok
            | Outcome::UnsupportedMediaType
            | Outcome::InvalidInput
            | Outcome::TooLarge
            | Outcome::Internal
            | Outcome::TensorMismatch
    )
}
