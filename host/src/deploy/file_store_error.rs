//! Why a file that the configuration names cannot be used.

use std::io;
use std::path::PathBuf;

use bytesize::ByteSize;
use plimsoll_runtime::lack::Lack;
use plimsoll_runtime::nn::{DeviceMemory, ExternalError, LoadError};

use crate::config::{PullError, ReadError};

/// Why a file that the configuration names cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileStoreError {
    /// An asset or a sample cannot be read.
    #[error(transparent)]
    Asset(ReadError),
    /// There is no such model.
    #[error("there is no model `{name}`; the configured models are [{known}]")]
    UnknownModel { name: String, known: String },
    /// The file of a model cannot be read.
    #[error("file: {0}")]
    Model(ReadError),
    /// The model comes from a registry, and is not there or not what the registry sent.
    #[error("file: {0}")]
    Registry(PullError),
    /// The file of a model has changed since the configuration was loaded.
    #[error(
        "file: {} has changed since the configuration was loaded, and this plugin reads it: save the configuration file \
         again, so that it is loaded with the new file, then deploy the plugin again",
        path.display()
    )]
    Changed { path: PathBuf },
    /// The model names files that it must not read.
    #[error("file: {}: {error}", path.display())]
    Locations { path: PathBuf, error: ExternalError },
    /// A file with weights cannot be read.
    #[error("file: {} stores weights in another file: {error}", path.display())]
    Weights { path: PathBuf, error: ReadError },
    /// A file with weights is a link out of the model's folder.
    #[error(
        "file: {} stores weights in another file: {} is a link to a file outside of the model's folder; store the file \
         itself there",
        path.display(),
        weights.display()
    )]
    WeightsOutside { path: PathBuf, weights: PathBuf },
    /// The model holds more memory on its device than it may.
    #[error(
        "max_device_memory: the model `{model}` holds {} on `{target}` ({}), more than the {cap} that it may; raise the cap, \
         lower `max_batch`, or export a smaller model",
        ByteSize::b(memory.admitted),
        memory.source.explained()
    )]
    Memory { model: String, target: String, memory: DeviceMemory, cap: ByteSize },
    /// The device of the model does not answer.
    #[error(
        "load_deadline: the model `{model}` cannot be loaded on `{target}`: {reason}, so its device is taken to hang. Reset the \
         device, or restart the server if the load keeps its thread; if loading takes so long, raise `load_deadline` of the \
         model"
    )]
    Hangs { model: String, target: String, reason: String },
    /// The machine starts no thread to load the model.
    #[error("the model cannot be loaded now, because the host lacks {lack}: {0}", lack = Lack::Threads)]
    NoThread(io::Error),
    /// The process that tries a model cannot be started.
    #[error(
        "the model cannot be loaded, because the process that tries it first cannot be started: {0}. Raise the limits of \
         processes and file descriptors (`ulimit -u`, `ulimit -n`, `pids` of the container), or set `trial_load = false` for \
         the model, which loads it without a trial"
    )]
    NoProcess(io::Error),
    /// That process could not try it.
    #[error(
        "the model cannot be loaded, because it cannot be tried in a process of its own first: {0}. `trial_load = false` for \
         the model loads it without a trial"
    )]
    Untried(String),
    /// That process refused it.
    #[error("{}", one_line(.0))]
    Trial(String),
    /// That process did not end well.
    #[error(
        "file: {} is not loaded, because it could end the server: {reason}. Export the model again, use the other backend, or \
         set `trial_load = false`, which loads it without this trial",
        path.display()
    )]
    Died { path: PathBuf, reason: String, is_temporary: bool },
    /// The backend does not load, or does not load the model.
    #[error("{}", one_line(&.0.0))]
    Load(#[from] LoadError),
}

/// The message of a library, which may contain names in a model: none of them may begin a line of its own.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

impl FileStoreError {
    /// Returns true if the host had no room to read a file or started no thread, a registry could not be asked, or a device
    /// does not answer. Then it may be tried again.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Registry(error) => error.is_temporary,
            Self::Asset(error) | Self::Model(error) | Self::Weights { error, .. } => error.is_temporary(),
            // The device may be back later.
            Self::Hangs { .. } | Self::NoThread(_) | Self::NoProcess(_) | Self::Untried(_) => true,
            Self::Died { is_temporary, .. } => *is_temporary,
            Self::UnknownModel { .. }
            | Self::Locations { .. }
            | Self::WeightsOutside { .. }
            | Self::Memory { .. }
            | Self::Changed { .. }
            | Self::Trial(_)
            | Self::Load(_) => false,
        }
    }
}
