//! A session: a model with the execution providers that compute it.

use std::collections::BTreeMap;

use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use plimsoll_onnx::ForOnnxRuntime;

use super::c_api::assignment;
use super::plugins::{self, PluginError};
use super::providers::{Provider, ProviderError};
use crate::nn::chip::{CPU_PROVIDER, Chip};
use crate::nn::device::Device;
use crate::nn::model::ModelSource;

/// The option with the folder of files with tensors, for a model that is loaded from memory.
const EXTERNAL_FOLDER: &str = "session.model_external_initializers_file_folder_path";
/// A folder that cannot exist, because `/dev/null` is not a folder.
const NO_FOLDER: &str = "/dev/null/plimsoll";

/// What sessions of a model are made of.
pub(super) struct SessionSource<'a> {
    pub(super) environment: &'a Environment,
    /// Threads of a session.
    pub(super) threads: usize,
    pub(super) source: &'a ModelSource,
    pub(super) prepared: &'a ForOnnxRuntime,
    /// False for a model that others are compared with: an optimisation may change what is computed.
    pub(super) is_optimised: bool,
}

/// Why a model has no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(
        "target `{device}`: {error}; it needs an NVIDIA GPU with its driver, and a library built for CUDA (the PyPI \
         package `onnxruntime-gpu` carries one)"
    )]
    Cuda { device: Device, error: ort::Error },
    #[error("target `{chip}`: {error}")]
    Plugin { chip: String, error: PluginError },
    #[error("target `{chip}`: {error}")]
    Provider { chip: String, error: ProviderError },
    #[error(
        "target `{chip}`: the provider `{provider}` cannot be used: {error}. If this names no option and no device, the \
         log has the library's own reason"
    )]
    Chip { chip: String, provider: String, error: ort::Error },
    #[error("options: {0}")]
    Options(ort::Error),
    #[error("a name of an input or output contains the character NUL")]
    Name(std::ffi::NulError),
    #[error(transparent)]
    Ort(#[from] ort::Error),
}

impl SessionSource<'_> {
    /// Makes a session. `options` are those of the execution provider.
    pub(super) fn session(&self, options: &BTreeMap<String, String>) -> Result<Session, SessionError> {
        let Self { environment, threads, source, prepared, is_optimised } = self;
        let mut builder = Session::builder(environment)?;
        let level = if *is_optimised { GraphOptimizationLevel::Level3 } else { GraphOptimizationLevel::Disable };
        builder = builder.with_optimization_level(level).map_err(ort::Error::from)?;
        let disabled = prepared.disabled_optimizers.join(";");
        builder = builder.with_disabled_optimizers(disabled).map_err(ort::Error::from)?;
        builder = builder.with_intra_threads(*threads).map_err(ort::Error::from)?;
        // Without this, sums of two products of 8-bit integers saturate at 16 bits on processors without VNNI, so
        // quantised models give other results there: onnxruntime's documentation on quantization, "U8S8 saturation".
        builder = builder.with_config_entry("session.x64quantprecision", "1").map_err(ort::Error::from)?;
        // Without this, a product with weights of 2, 4 or 8 bits rounds the other factor to 8 bits as well: the results
        // differ by some percent (`session.qdq_matmulnbits_accuracy_level`; 1 is FLOAT).
        builder = builder.with_config_entry("session.qdq_matmulnbits_accuracy_level", "1").map_err(ort::Error::from)?;
        builder = match &source.device {
            // Without a choice, the library gives the model to any plugin that another chip has loaded.
            Device::Cpu => {
                let cpu = self.environment.devices().find(|device| plugins::provider(device) == CPU_PROVIDER);
                builder.with_devices(cpu, None).map_err(ort::Error::from)?
            }
            Device::Cuda(number) => {
                let device = number.to_string();
                let cuda = Provider::of("cuda").and_then(|cuda| cuda.build(Some(&device), options));
                let cuda = cuda.map_err(|error| SessionError::Provider { chip: source.device.to_string(), error })?;
                builder.with_execution_providers([cuda]).map_err(|error| {
                    of_provider(error.into(), |error| SessionError::Cuda { device: source.device.clone(), error })
                })?
            }
            Device::Chip(chip) => self.with_chip(builder, chip, options)?,
        };
        if source.device != Device::Cpu {
            let (key, value) = assignment::RECORD;
            builder = builder.with_config_entry(key, value).map_err(ort::Error::from)?;
        }
        // Without these, the library would look for the files in the working directory. It has the files that
        // `plimsoll_onnx` found; for a tensor that was not found, it must not find a file.
        builder = builder.with_config_entry(EXTERNAL_FOLDER, NO_FOLDER).map_err(ort::Error::from)?;
        for (location, bytes) in &source.external {
            builder = builder
                .with_external_initializer_file_in_memory(location, bytes.as_slice().into())
                .map_err(ort::Error::from)?;
        }
        let session = builder.commit_from_memory(prepared.bytes.as_deref().unwrap_or(&source.bytes));
        session.map_err(|error| match &source.device {
            Device::Chip(chip) => of_provider(error, |error| of_chip(chip, error)),
            Device::Cpu | Device::Cuda(_) => SessionError::Ort(error),
        })
    }

    fn with_chip(
        &self,
        builder: SessionBuilder,
        chip: &Chip,
        options: &BTreeMap<String, String>,
    ) -> Result<SessionBuilder, SessionError> {
        let Some(path) = &chip.library else {
            let provider = Provider::of(&chip.provider).and_then(|provider| {
                provider.check_carried()?;
                provider.build(chip.device.as_deref(), options)
            });
            let provider = provider.map_err(|error| SessionError::Provider { chip: chip.name.clone(), error })?;
            let with_provider = builder.with_execution_providers([provider]);
            return with_provider.map_err(|error| of_provider(error.into(), |error| of_chip(chip, error)));
        };
        let device = plugins::select(self.environment, chip, path)
            .map_err(|error| SessionError::Plugin { chip: chip.name.clone(), error })?;
        let provider = plugins::provider(&device);
        let options: Vec<_> =
            options.iter().map(|(name, value)| (format!("{provider}.{name}"), value.clone())).collect();
        builder
            .with_devices([device], Some(&options))
            .map_err(|error| of_provider(error.into(), |error| of_chip(chip, error)))
    }
}

fn of_chip(chip: &Chip, error: ort::Error) -> SessionError {
    SessionError::Chip { chip: chip.name.clone(), provider: chip.provider.clone(), error }
}

/// Distinguishes an option that the library does not accept from a missing device.
fn of_provider(error: ort::Error, otherwise: impl FnOnce(ort::Error) -> SessionError) -> SessionError {
    match error.message().contains("provider option") {
        true => SessionError::Options(error),
        false => otherwise(error),
    }
}
