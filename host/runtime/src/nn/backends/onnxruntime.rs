//! The backend `onnxruntime`: fast, and with support for accelerators. The library is loaded at run time, when the first
//! model needs it; it is not linked.

mod failures;
mod library;
mod loaded;
mod options;
mod values;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;

use ort::environment::Environment;
use ort::ep::{ArbitrarilyConfigurableExecutionProvider, CUDA};
use ort::session::{Session, builder::GraphOptimizationLevel};
use ort::value::{Outlet, ValueType};
use plimsoll_onnx::{DeclaredShape, ForOnnxRuntime};
use serde::Deserialize;

use self::library::environment;
use self::loaded::Loaded;
use self::values::element_type;
use crate::nn::device::Device;
use crate::nn::error::{LoadError, SettingsError};
use crate::nn::model::{Backend, BackendEntry, BackendSettings, Model, ModelSource, Signature};

/// The backend in the list.
pub(in crate::nn) const ENTRY: BackendEntry = BackendEntry {
    name: "onnxruntime",
    check: |settings| Settings::parse(settings).map(drop),
    open: |settings, folder| {
        let Settings { library, threads, sessions } =
            Settings::parse(settings).map_err(|error| LoadError(error.to_string()))?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let sessions = sessions.unwrap_or(cores.min(DEFAULT_MAX_SESSIONS));
        let backend = OnnxRuntime::new(library.map(|path| folder.join(path)), threads.unwrap_or(1), sessions)?;
        Ok(Box::new(backend))
    },
};

/// Maximum default number of sessions of a model: each has its own copy of the weights.
const DEFAULT_MAX_SESSIONS: usize = 4;

/// `[backends.onnxruntime]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Path of libonnxruntime.so; default: the variable `ORT_DYLIB_PATH`.
    library: Option<PathBuf>,
    /// Threads of one run; default 1.
    threads: Option<usize>,
    /// Concurrent runs of one model, each in a session with its own copy of the weights; default: one for each core, at
    /// most 4.
    sessions: Option<usize>,
}

impl Settings {
    fn parse(settings: &BackendSettings) -> Result<Self, SettingsError> {
        match settings.is_null() {
            true => Ok(Self::default()),
            false => Self::deserialize(settings).map_err(|error| SettingsError(error.to_string())),
        }
    }
}

/// The backend `onnxruntime`.
pub struct OnnxRuntime {
    environment: Environment,
    threads: usize,
    sessions: usize,
}

impl OnnxRuntime {
    /// Loads the library from `library`, or else from the path in the variable `ORT_DYLIB_PATH`. `threads` is the number of
    /// threads of one run, `sessions` the number of concurrent runs of a model.
    ///
    /// # Errors
    /// If there is no library; the message names both ways to set its path.
    pub fn new(library: Option<PathBuf>, threads: usize, sessions: usize) -> Result<Self, LoadError> {
        let path = library
            .or_else(|| std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from))
            .ok_or_else(|| LoadError(absent("no library is configured")))?;
        let failed = |error| LoadError(absent(&format!("{} cannot be loaded: {error}", path.display())));
        let environment = environment(&path).map_err(failed)?;
        Ok(Self { environment, threads, sessions })
    }
}

fn absent(why: &str) -> String {
    format!(
        "the backend `onnxruntime` cannot load ONNX Runtime: {why}. Set `library` in `[backends.onnxruntime]` or the \
         variable ORT_DYLIB_PATH to the path of libonnxruntime.so (the PyPI package `onnxruntime` carries it in \
         onnxruntime/capi), or use the backend `rten`"
    )
}

impl Backend for OnnxRuntime {
    fn load(&self, source: &ModelSource) -> Result<Box<dyn Model>, LoadError> {
        let failed = |error| LoadError(format!("onnxruntime cannot load {}: {error}", source.path.display()));
        options::check(source)
            .map_err(|error| LoadError(format!("onnxruntime cannot load {}: {error}", source.path.display())))?;
        let prepared = plimsoll_onnx::prepare_onnxruntime(&source.bytes)
            .map_err(|error| LoadError(format!("onnxruntime cannot load {}: {error}", source.path.display())))?;
        let idle = (0..self.sessions.max(1)).map(|_| self.session(source, &prepared)).collect::<Result<Vec<_>, _>>();
        let idle = idle.map_err(failed)?;
        let session = &idle[0];
        let signatures = |outlets: &[Outlet]| {
            let signatures =
                outlets.iter().map(|outlet| signature(outlet, &prepared.declared)).collect::<Result<_, _>>();
            signatures.map_err(|error: LoadError| {
                LoadError(format!("onnxruntime cannot load {}: {error}", source.path.display()))
            })
        };
        let (inputs, outputs) = (signatures(session.inputs())?, signatures(session.outputs())?);
        let runs_on_calling_thread = source.device == Device::Cpu && self.threads == 1;
        Ok(Box::new(Loaded {
            sessions: idle.len(),
            idle: Mutex::new(idle),
            runs_on_calling_thread,
            time_depends_on_values: prepared.time_depends_on_values,
            device: source.device,
            inputs,
            outputs,
        }))
    }
}

/// `declared` are the shapes that the file declares. The library derives shapes from the inputs, and will return these
/// shapes, but it reports a value without a shape like a scalar.
fn signature(outlet: &Outlet, declared: &HashMap<String, Option<DeclaredShape>>) -> Result<Signature, LoadError> {
    let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
        return Err(LoadError(format!("`{}` is not a tensor", outlet.name())));
    };
    let Some(known) = element_type(*ty) else {
        return Err(LoadError(format!(
            "`{}` has the element type {ty}, which the host does not support; export the model with an input or output of \
             float, double, uint8, int32 or int64",
            outlet.name()
        )));
    };
    let derived: DeclaredShape = shape.iter().map(|&size| u32::try_from(size).ok()).collect();
    let declared = declared.get(outlet.name()).cloned().flatten();
    let shape = match declared {
        declared if derived.is_empty() => declared,
        Some(declared) if declared.len() == derived.len() => {
            Some(derived.iter().zip(declared).map(|(derived, declared)| derived.or(declared)).collect())
        }
        _ => Some(derived),
    };
    Ok(Signature { name: outlet.name().to_owned(), types: vec![known], shape })
}

impl OnnxRuntime {
    fn session(&self, source: &ModelSource, prepared: &ForOnnxRuntime) -> Result<Session, SessionError> {
        let mut builder = Session::builder(&self.environment)?;
        builder = builder.with_optimization_level(GraphOptimizationLevel::Level3).map_err(ort::Error::from)?;
        let disabled = prepared.disabled_optimizers.join(";");
        builder = builder.with_disabled_optimizers(disabled).map_err(ort::Error::from)?;
        builder = builder.with_intra_threads(self.threads).map_err(ort::Error::from)?;
        // Without this, sums of two products of 8-bit integers saturate at 16 bits on processors without VNNI, so
        // quantised models give other results there: onnxruntime's documentation on quantization, "U8S8 saturation".
        builder = builder.with_config_entry("session.x64quantprecision", "1").map_err(ort::Error::from)?;
        if let Device::Cuda(device) = source.device {
            let cuda = CUDA::default().with_device_id(device);
            let set = |cuda: CUDA, (name, value)| cuda.with_arbitrary_config(name, value);
            // Without `error_on_failure` the model would silently run on the CPU.
            let cuda = source.options.iter().fold(cuda, set).build().error_on_failure();
            builder = builder
                .with_execution_providers([cuda])
                .map_err(|error| SessionError::of_device(source.device, error.into()))?;
        }
        // Without this, the library would look for the files in the working directory.
        for (location, bytes) in &source.external {
            builder = builder
                .with_external_initializer_file_in_memory(location, bytes.as_slice().into())
                .map_err(ort::Error::from)?;
        }
        Ok(builder.commit_from_memory(prepared.bytes.as_deref().unwrap_or(&source.bytes))?)
    }
}

/// Why a model has no session.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(
        "target `{device}`: {error}; it needs an NVIDIA GPU with its driver, and a library built for CUDA (the PyPI \
         package `onnxruntime-gpu` carries one)"
    )]
    Device { device: Device, error: ort::Error },
    #[error("options: {0}")]
    Options(ort::Error),
    #[error(transparent)]
    Ort(#[from] ort::Error),
}

impl SessionError {
    /// Distinguishes an option that the library does not accept from a missing device.
    fn of_device(device: Device, error: ort::Error) -> Self {
        match error.message().contains("provider option") {
            true => Self::Options(error),
            false => Self::Device { device, error },
        }
    }
}
