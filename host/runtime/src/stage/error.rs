//! A stage that failed: how it ended, and what the caller and the log may read.

use wasmtime::component::ResourceTableError;

use super::bindings::Failure;
use super::bundle::Handed;
use super::limits::{MAX_POLLED, MAX_RESOURCES};
use super::odd_tensor::OddTensor;
use crate::cap::MemoryLimit;
use crate::lack::Lack;
use crate::outcome::Outcome;
use crate::tensor::OutOfRange;
use crate::text::cut;

/// Maximum bytes of a failure's text. It is copied to a reply or a log line, and a plugin could make it as long as its
/// memory.
const MAX_TEXT: usize = 16 << 10;

/// A part of wasmtime's message about a call that passes more data than the host allows; its type is private.
const FUEL: &str = "fuel allocated for hostcalls has been exhausted";

/// A part of wasmtime's messages about a guest with too many handles; their type is private.
const HANDLES: &str = "store handle limit exceeded";

/// A stage that gave no answer.
#[derive(Debug, thiserror::Error)]
#[error("{}: {public}", outcome.as_str())]
pub struct StageError {
    /// How the stage ended.
    pub outcome: Outcome,
    /// What the caller may read.
    pub public: String,
    /// The text that only the log shows: the guest's own message, the backtrace.
    pub detail: String,
    /// The limit in bytes, if one was exceeded.
    pub limit: Option<u64>,
}

/// Raised by the epoch callback of a store whose deadline has passed.
#[derive(Debug, thiserror::Error)]
#[error("the deadline passed")]
pub struct DeadlinePassed;

/// Raised if a guest passes too many pollables to one call.
#[derive(Debug, thiserror::Error)]
#[error("the plugin waits for {given} pollables in one call of `wasi:io/poll`, {MAX_POLLED} are allowed")]
pub(super) struct TooManyPolled {
    pub(super) given: usize,
}

/// Raised if a stage returns more bytes than its `max_output`.
#[derive(Debug, thiserror::Error)]
#[error("{given} bytes were returned, {limit} are allowed (`max_output`)")]
pub struct OutputLimit {
    /// Bytes that were returned.
    pub given: u64,
    /// The limit in bytes.
    pub limit: u64,
}

/// What a failure without a text is called. An empty text means success in a stream of the Open Inference Protocol.
const NO_REASON: &str = "the plugin gave no reason";

/// Raised if a plugin reads a tensor of strings.
#[derive(Debug, thiserror::Error)]
#[error(
    "the plugin reads a tensor of strings, for which `wasi:nn` has no type; a plugin can only pass it on, as `infer-native` does"
)]
pub struct UnreadableStrings;

/// Raised if a transform stage makes items that its step does not allow, or none although it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum WrongItems {
    /// Too many.
    #[error("{given} items were returned, {limit} are allowed (`max_items`)")]
    TooMany { given: usize, limit: u32 },
    /// The step does not declare items.
    #[error("the plugin returned items, but its step does not declare `items = true`")]
    Undeclared,
    /// The step declares items.
    #[error("the plugin returned no items, but its step declares `items = true`")]
    Missing,
    /// A tensor of an item, or of the only answer, is not usable.
    #[error(transparent)]
    Tensor(#[from] OddTensor),
}

impl WrongItems {
    /// Checks an answer; `max_items` is the most items that the step may make, `None` if it makes none.
    pub(super) fn check(handed: &Handed, max_items: Option<u32>) -> Result<(), Self> {
        match (handed, max_items) {
            (Handed::Items(items), Some(limit)) if items.len() > limit as usize => {
                Err(Self::TooMany { given: items.len(), limit })
            }
            (Handed::Items(_), None) => Err(Self::Undeclared),
            (Handed::One(_), Some(_)) => Err(Self::Missing),
            (Handed::One(bundle), None) => Ok(OddTensor::check(&bundle.tensors)?),
            (Handed::Items(items), Some(_)) => Ok(items.iter().try_for_each(|item| OddTensor::check(&item.tensors))?),
        }
    }
}

impl StageError {
    fn new(outcome: Outcome, public: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { outcome, public: public.into(), detail: detail.into(), limit: None }
    }

    /// The host's own timer saw the deadline pass.
    pub(crate) fn deadline() -> Self {
        Self::new(Outcome::Deadline, "the deadline passed before the stage answered", "")
    }

    /// The plugin returned a failure.
    pub fn from_failure(failure: Failure) -> Self {
        let bounded = |text: String| match text.trim().is_empty() {
            true => NO_REASON.to_owned(),
            false => cut(text, MAX_TEXT),
        };
        let (outcome, text) = match failure {
            Failure::UnsupportedMediaType(text) => (Outcome::UnsupportedMediaType, text),
            Failure::InvalidInput(text) => (Outcome::InvalidInput, text),
            Failure::TooLarge(text) => (Outcome::TooLarge, text),
            Failure::Internal(text) => {
                let public = "the plugin reported an internal error; see the host log";
                return Self::new(Outcome::Internal, public, bounded(text));
            }
        };
        Self::new(outcome, bounded(text), "")
    }

    /// A tensor did not fit the model; the message is the host's own.
    pub(crate) fn tensor_mismatch(message: String) -> Self {
        Self::new(Outcome::TensorMismatch, message, "")
    }

    /// The host has no result of a run; a bug of this program.
    pub(crate) fn lost() -> Self {
        Self::new(Outcome::Internal, "the host has lost what a step handed on; this is a bug of the host", "")
    }

    /// The device of the stage's model failed. The library's message is for the log.
    pub(crate) fn device_failure(message: String) -> Self {
        Self::new(
            Outcome::DeviceFailure,
            "the device that runs the model failed or is out of service; try again",
            message,
        )
    }

    /// Distinguishes the ways in which a call into a guest fails.
    pub fn from_wasmtime(error: &wasmtime::Error) -> Self {
        // `{:?}` includes the chain of causes and the guest's backtrace.
        let detail = format!("{error:?}");
        if let Some(limit) = error.downcast_ref::<MemoryLimit>() {
            let mut this = Self::new(Outcome::MemoryLimit, limit.to_string(), detail);
            this.limit = Some(limit.limit);
            this
        } else if let Some(number) = error.downcast_ref::<OutOfRange>() {
            let public =
                format!("the plugin reads a tensor as `wasi:nn` has it: {number}; use a plugin that does not read it");
            Self::new(Outcome::TensorMismatch, public, detail)
        } else if error.is::<UnreadableStrings>() {
            Self::new(Outcome::TensorMismatch, UnreadableStrings.to_string(), detail)
        } else if error.is::<DeadlinePassed>() {
            Self { detail, ..Self::deadline() }
        } else if let Some(limit) = error.downcast_ref::<OutputLimit>() {
            let mut this = Self::new(Outcome::OutputLimit, limit.to_string(), detail);
            this.limit = Some(limit.limit);
            this
        } else if let Some(odd) = error.downcast_ref::<OddTensor>() {
            let outcome = match odd {
                OddTensor::Name(_) | OddTensor::Dimensions(_) | OddTensor::Gathered(_) => Outcome::OutputLimit,
                OddTensor::Size(..) | OddTensor::Twice(_) => Outcome::Internal,
            };
            Self::new(outcome, odd.to_string(), detail)
        } else if let Some(items) = error.downcast_ref::<WrongItems>() {
            let outcome = match items {
                WrongItems::TooMany { .. } => Outcome::OutputLimit,
                WrongItems::Undeclared | WrongItems::Missing | WrongItems::Tensor(_) => Outcome::Internal,
            };
            Self::new(outcome, items.to_string(), detail)
        } else if error.is::<wasmtime::PoolConcurrencyLimitError>() {
            Self::new(Outcome::NoCapacity, "no instance is free; try again", detail)
        } else if let Some(lack) = Lack::in_chain(error.chain()) {
            let public = format!("the host has no {lack} for an instance; try again{}", lack.cause());
            Self::new(Outcome::NoCapacity, public, detail)
        } else if error.chain().any(|cause| cause.to_string().contains(FUEL)) {
            let public = "the plugin passed more data to the host in one call than its `max_memory`";
            Self::new(Outcome::OutputLimit, public, detail)
        } else if let Some(polled) = error.downcast_ref::<TooManyPolled>() {
            Self::new(Outcome::OutputLimit, polled.to_string(), detail)
        } else if has_too_many_handles(error) {
            let public = format!(
                "the plugin holds too many handles of resources (tensors, graphs, streams, pollables …): at most \
                 {MAX_RESOURCES} are allowed in a run"
            );
            Self::new(Outcome::OutputLimit, public, detail)
        } else if has_no_room_for_objects(error) {
            let public = "the memory limit (`max_memory`) leaves no room for more garbage-collected objects";
            Self::new(Outcome::MemoryLimit, public, detail)
        } else if error.is::<wasmtime::ThrownException>() {
            Self::new(Outcome::Trap, "the plugin crashed: it did not catch an exception", detail)
        } else if let Some(trap) = error.downcast_ref::<wasmtime::Trap>() {
            Self::new(Outcome::Trap, format!("the plugin crashed: {trap}"), detail)
        } else {
            Self::new(Outcome::Trap, "the plugin crashed", detail)
        }
    }
}

/// The table of the host's resources is full, or the guest has too many handles.
fn has_too_many_handles(error: &wasmtime::Error) -> bool {
    error.chain().any(|cause| {
        matches!(cause.downcast_ref(), Some(ResourceTableError::Full)) || cause.to_string().contains(HANDLES)
    })
}

/// The growth of the heap of garbage-collected objects was refused, or one object is larger than any heap. wasmtime first
/// collects, and hides the limiter's own error: what remains is its "out of memory".
fn has_no_room_for_objects(error: &wasmtime::Error) -> bool {
    error.is::<wasmtime::GcHeapOutOfMemory<()>>()
        || matches!(error.downcast_ref(), Some(wasmtime::Trap::AllocationTooLarge))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::TensorType;

    /// A lack of the host, and a limit, have their own outcomes. Only a trap of the guest is a plugin that broke.
    #[test]
    fn only_a_trap_is_a_plugin_that_broke() {
        let errno = |errno: rustix::io::Errno| std::io::Error::from_raw_os_error(errno.raw_os_error());
        let cases: [(wasmtime::Error, Outcome, &str); 12] = [
            (errno(rustix::io::Errno::NOMEM).into(), Outcome::NoCapacity, "no memory for an instance"),
            (errno(rustix::io::Errno::MFILE).into(), Outcome::NoCapacity, "no file descriptors (`ulimit -n`)"),
            (errno(rustix::io::Errno::NFILE).into(), Outcome::NoCapacity, "no file descriptors (`ulimit -n`)"),
            (errno(rustix::io::Errno::FBIG).into(), Outcome::NoCapacity, "`ulimit -f`"),
            (errno(rustix::io::Errno::PERM).into(), Outcome::NoCapacity, "Operation not permitted"),
            (
                MemoryLimit { limit: 1, wanted: 2, what: "linear memory", key: "max_memory" }.into(),
                Outcome::MemoryLimit,
                "memory limit",
            ),
            (OutputLimit { given: 2, limit: 1 }.into(), Outcome::OutputLimit, "max_output"),
            (
                OutOfRange { given: TensorType::U64, expected: TensorType::I64, number: 1 << 63 }.into(),
                Outcome::TensorMismatch,
                "u64 is converted to i64, which does not have the number 9223372036854775808",
            ),
            (DeadlinePassed.into(), Outcome::Deadline, "the deadline passed"),
            (ResourceTableError::Full.into(), Outcome::OutputLimit, "20000 are allowed"),
            (wasmtime::Error::msg(HANDLES), Outcome::OutputLimit, "too many handles"),
            (wasmtime::Error::msg(FUEL), Outcome::OutputLimit, "more data"),
        ];
        for (error, outcome, words) in cases {
            let error = StageError::from_wasmtime(&error.context("error while executing at wasm backtrace"));
            assert_eq!(error.outcome, outcome, "{error}");
            assert!(error.public.contains(words) && !error.public.contains("broke"), "{error}");
        }
        let trap = StageError::from_wasmtime(&wasmtime::Trap::UnreachableCodeReached.into());
        assert_eq!((trap.outcome, trap.public.contains("the plugin crashed")), (Outcome::Trap, true), "{trap}");
    }
}
