//! The ways in which a stage, and with it a request, can end.

use serde::Serialize;

/// How a stage or a request ended. Replies, metrics, the memory report and the log use the same words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The stage answered.
    Ok,
    /// The plugin returned `failure.unsupported-media-type`.
    UnsupportedMediaType,
    /// The plugin returned `failure.invalid-input`.
    InvalidInput,
    /// The plugin returned `failure.too-large`.
    TooLarge,
    /// The plugin returned `failure.internal`, or the host failed.
    Internal,
    /// A tensor did not fit the model: wrong name, shape or type.
    TensorMismatch,
    /// The stage returned more bytes than its `max_output`.
    OutputLimit,
    /// The memory cap refused a growth.
    MemoryLimit,
    /// The deadline of the stage or of the request passed.
    Deadline,
    /// The guest trapped: a panic, an access out of bounds, an exhausted stack.
    Trap,
    /// The caller disconnected.
    Cancelled,
    /// No instance was free.
    NoCapacity,
    /// The device that runs the model failed, or is out of service.
    DeviceFailure,
}

impl Outcome {
    /// All outcomes, in their order.
    pub const ALL: [Self; 13] = [
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
        Self::DeviceFailure,
    ];

    /// Returns true if the plugin is at fault, whatever the caller sent. Such outcomes roll a canary back.
    pub fn is_plugin_failure(self) -> bool {
        matches!(self, Self::Trap | Self::MemoryLimit | Self::Deadline)
    }

    /// The name of this outcome in labels, codes and logs.
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
            Self::DeviceFailure => "device_failure",
        }
    }
}
