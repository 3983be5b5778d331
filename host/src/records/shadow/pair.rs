//! Two chips of an infer stage that are compared.

use std::time::Duration;

/// Two chips of an infer stage that are compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChipPair {
    /// The pipeline.
    pub pipeline: String,
    /// The pipeline's version: with another plugin or model, the figures begin again.
    pub version: String,
    /// The stage: `infer`, or the name of the step.
    pub stage: String,
    /// The chip that answers.
    pub chip: String,
    /// The shadow chip.
    pub shadow: String,
}

/// Why a shadow run was skipped. None of these is a fault of the chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    /// Too many shadow runs wait.
    Queue,
    /// The tensors do not fit into the byte budget.
    Bytes,
    /// The request has more items than are compared of one request.
    Items,
    /// It did not begin in time, because other shadow runs took too long.
    Late,
    /// It did not end in time, because it waited for cores or sessions that other runs used.
    Busy,
    /// No instance was free.
    NoCapacity,
    /// The request's own chip did not answer, so there is nothing to compare with.
    NoAnswer,
    /// The shadow chip itself answered, as the fallback.
    SameChip,
    /// The server stops.
    Stopping,
}

impl Skipped {
    /// The name in reports and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Bytes => "bytes",
            Self::Items => "items",
            Self::Late => "late",
            Self::Busy => "busy",
            Self::NoCapacity => "no_capacity",
            Self::NoAnswer => "no_answer",
            Self::SameChip => "same_chip",
            Self::Stopping => "stopping",
        }
    }
}

/// How long the infer stage ran.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// On the chip that answered.
    pub chip: Duration,
    /// On the shadow chip.
    pub shadow: Duration,
}

/// The run that is compared.
#[derive(Debug, Clone, Copy)]
pub struct ComparedRun<'a> {
    /// The id of the request.
    pub request: &'a str,
    /// The item, from 0, if the stage runs for each item.
    pub item: Option<usize>,
}
