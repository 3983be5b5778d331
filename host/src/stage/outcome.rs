//! How a stage, and with it a request, can end.

use serde::Serialize;

use super::bindings::Failure;
use super::cap::MemoryLimit;

/// The outcomes told apart everywhere: in replies, metrics, the memory report and the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The stage answered.
    Ok,
    /// `failure.unsupported-media-type`.
    UnsupportedMediaType,
    /// `failure.invalid-input`.
    InvalidInput,
    /// `failure.too-large`.
    TooLarge,
    /// `failure.internal`, or the host's own fault.
    Internal,
    /// A tensor did not fit the model: wrong name, shape or type.
    TensorMismatch,
    /// More bytes were returned than the stage's `max_output`.
    OutputLimit,
    /// The cap refused a growth.
    MemoryLimit,
    /// The deadline of the stage or of the request passed.
    Deadline,
    /// The guest broke: a panic, an access out of bounds, an exhausted stack.
    Trap,
    /// The caller went away.
    Cancelled,
    /// No room for another instance.
    NoCapacity,
}

impl Outcome {
    /// All of them, in their order.
    pub const ALL: [Self; 12] = [
        Self::Ok,
        Self::UnsupportedMediaType,
        Self::InvalidInput,
        Self::TooLarge,
        Self::Internal,
        Self::TensorMismatch,
        Self::OutputLimit,
        Self::MemoryLimit,
        Self::Deadline,
        Self::Trap,
        Self::Cancelled,
        Self::NoCapacity,
    ];

    /// Whether this is the plugin's own failing, whatever the caller sent: what rolls a new version back.
    pub fn is_plugin_failure(self) -> bool {
        matches!(self, Self::Trap | Self::MemoryLimit | Self::Deadline)
    }

    /// The word for this outcome in labels, codes and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::InvalidInput => "invalid_input",
            Self::TooLarge => "too_large",
            Self::Internal => "internal",
            Self::TensorMismatch => "tensor_mismatch",
            Self::OutputLimit => "output_limit",
            Self::MemoryLimit => "memory_limit",
            Self::Deadline => "deadline",
            Self::Trap => "trap",
            Self::Cancelled => "cancelled",
            Self::NoCapacity => "no_capacity",
        }
    }
}

/// Bytes of a failure's text: it goes into a reply or a log line, and a plugin could make it as long as its memory.
const MAX_TEXT: usize = 16 << 10;

/// A stage without an answer.
#[derive(Debug, thiserror::Error)]
#[error("{}: {public}", outcome.as_str())]
pub struct StageError {
    /// How it ended.
    pub outcome: Outcome,
    /// What the caller may read.
    pub public: String,
    /// What only the log shows: the guest's own words, the backtrace.
    pub detail: String,
    /// The limit in bytes, where one was met.
    pub limit: Option<u64>,
}

/// Raised by the epoch callback of a store whose deadline has passed.
#[derive(Debug, thiserror::Error)]
#[error("the deadline passed")]
pub struct DeadlinePassed;

/// Raised when a stage hands the host more bytes than its `max_output`.
#[derive(Debug, thiserror::Error)]
#[error("{given} bytes were returned, {limit} are allowed (`max_output`)")]
pub struct OutputLimit {
    /// What was returned, in bytes.
    pub given: u64,
    /// The limit in bytes.
    pub limit: u64,
}

impl StageError {
    fn new(outcome: Outcome, public: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { outcome, public: public.into(), detail: detail.into(), limit: None }
    }

    /// The deadline as seen by the host's own timer.
    pub(crate) fn deadline() -> Self {
        Self::new(Outcome::Deadline, "the deadline passed before the stage had an answer", "")
    }

    /// What the plugin said itself.
    pub(crate) fn from_failure(failure: Failure) -> Self {
        let bounded = |mut text: String| {
            text.truncate(text.floor_char_boundary(MAX_TEXT));
            text
        };
        let (outcome, text) = match failure {
            Failure::UnsupportedMediaType(text) => (Outcome::UnsupportedMediaType, text),
            Failure::InvalidInput(text) => (Outcome::InvalidInput, text),
            Failure::TooLarge(text) => (Outcome::TooLarge, text),
            Failure::Internal(text) => {
                let public = "the plugin reports a fault of its own; the host's log has its words";
                return Self::new(Outcome::Internal, public, bounded(text));
            }
        };
        Self::new(outcome, bounded(text), "")
    }

    /// A tensor that did not fit, in the host's own words.
    pub(crate) fn tensor_mismatch(message: String) -> Self {
        Self::new(Outcome::TensorMismatch, message, "")
    }

    /// Tells the ways apart in which a call into a guest fails.
    pub(crate) fn from_wasmtime(error: &wasmtime::Error) -> Self {
        // `{:?}` has the chain of causes and the guest's backtrace.
        let detail = format!("{error:?}");
        if let Some(limit) = error.downcast_ref::<MemoryLimit>() {
            let mut this = Self::new(Outcome::MemoryLimit, limit.to_string(), detail);
            this.limit = Some(limit.limit);
            this
        } else if error.is::<DeadlinePassed>() {
            Self { detail, ..Self::deadline() }
        } else if let Some(limit) = error.downcast_ref::<OutputLimit>() {
            let mut this = Self::new(Outcome::OutputLimit, limit.to_string(), detail);
            this.limit = Some(limit.limit);
            this
        } else if error.is::<wasmtime::PoolConcurrencyLimitError>() {
            Self::new(Outcome::NoCapacity, "no instance is free; try again", detail)
        } else if let Some(trap) = error.downcast_ref::<wasmtime::Trap>() {
            Self::new(Outcome::Trap, format!("the plugin broke: {trap}"), detail)
        } else {
            Self::new(Outcome::Trap, "the plugin broke", detail)
        }
    }
}
