//! The settings of the backend, and how models run with them: concurrent runs, their sessions and their threads.

use std::path::PathBuf;

use bytesize::ByteSize;
use serde::Deserialize;

use crate::nn::device::Device;
use crate::nn::error::SettingsError;
use crate::nn::model::BackendSettings;

/// Maximum default number of concurrent runs of a model: each has its own intermediate values, and each its own copy of
/// the weights where runs do not share a session.
const DEFAULT_MAX_RUNS: usize = 4;
/// Default maximum of memory to which inputs and outputs are bound, of all models.
const DEFAULT_MAX_BOUND_MEMORY: ByteSize = ByteSize::gib(1);

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// `[backends.onnxruntime]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// Path of libonnxruntime.so; default: the variable `ORT_DYLIB_PATH`.
    pub library: Option<PathBuf>,
    /// Threads of one run; default 1.
    threads: Option<usize>,
    /// Concurrent runs of one model; default: one for each core, at most 4.
    sessions: Option<usize>,
    /// True if the concurrent runs of a model share one session and so one copy of the weights, false if each has its own;
    /// default: true for the devices on which that was tested.
    shared_session: Option<bool>,
    /// True if the inputs and outputs of runs are bound to memory of the library, false if the library copies them from and to
    /// ordinary memory; default: bound where the provider has memory of the host that its device reads directly.
    io_binding: Option<bool>,
    /// The most memory of the library to which inputs and outputs are bound at one time, of all models; default 1 GiB.
    max_bound_memory: Option<ByteSize>,
}

impl Settings {
    pub(super) fn parse(settings: &BackendSettings) -> Result<Self, SettingsError> {
        match settings.is_null() {
            true => Ok(Self::default()),
            false => Self::deserialize(settings).map_err(|error| SettingsError(error.to_string())),
        }
    }

    /// How models run with these settings.
    pub(super) fn rules(&self) -> RunRules {
        let runs = self.sessions.unwrap_or(cores().min(DEFAULT_MAX_RUNS)).max(1);
        RunRules {
            threads: self.threads.unwrap_or(1),
            runs,
            shared_session: self.shared_session,
            io_binding: self.io_binding,
            max_bound_memory: self.max_bound_memory.unwrap_or(DEFAULT_MAX_BOUND_MEMORY).as_u64(),
        }
    }
}

/// How models run.
#[derive(Clone, Copy)]
pub(super) struct RunRules {
    /// Threads of a run.
    pub threads: usize,
    /// Concurrent runs of a model.
    pub runs: usize,
    /// True if they share a session, `None` for the default of the device.
    shared_session: Option<bool>,
    /// Whether they are bound, `None` for the default of the device.
    pub io_binding: Option<bool>,
    /// The most bytes of the library's memory to which they are bound.
    pub max_bound_memory: u64,
}

impl RunRules {
    /// Of a model that others are compared with: one run at a time.
    pub(super) fn of_a_reference(self) -> Self {
        Self { runs: 1, io_binding: Some(false), ..self }
    }

    /// Whether the concurrent runs of a model on this device share one session.
    pub(super) fn shares_session(self, device: &Device) -> bool {
        self.shared_session.unwrap_or_else(|| is_concurrent(device))
    }

    /// The threads of a session. Runs that share a session share its threads; they are as many as separate sessions would
    /// have (each run also computes on its own thread), but not more than cores.
    pub(super) fn threads_of_session(self, is_shared: bool) -> usize {
        let all = self.runs.saturating_mul(self.threads.saturating_sub(1)).saturating_add(1);
        if is_shared && self.threads > 1 { all.min(cores()).max(self.threads) } else { self.threads }
    }
}

/// Returns true for devices whose execution provider computes concurrent runs of one session, as the test
/// `shared_sessions` shows. Other providers may too: ONNX Runtime's own rule is that all do, or that it makes the runs of
/// those that cannot one after another. For them the administrator decides (`shared_session`).
fn is_concurrent(device: &Device) -> bool {
    match device {
        Device::Cpu => true,
        Device::Cuda(_) => false,
        Device::Chip(chip) => chip.library.is_none() && chip.provider == "openvino",
    }
}
