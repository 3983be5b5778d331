//! The backend `onnxruntime`: the fast path, and the way to accelerators. The library is loaded when the first
//! model asks for it; nothing of it is linked.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use ort::environment::Environment;
use ort::session::builder::{GraphOptimizationLevel, PrepackedWeights};
use ort::session::{Session, SessionInputValue};
use ort::value::Outlet;
use ort::value::{DynValue, TensorElementType, TensorRef, ValueType};

use super::model::{Backend, LoadError, Model, ModelSource, Signature};
use super::tensor::{Tensor, TensorType};

/// The backend `onnxruntime`.
pub struct OnnxRuntime {
    environment: Environment,
    threads: usize,
    sessions: usize,
}

impl OnnxRuntime {
    /// Loads the library: from `library`, else from the path in the variable `ORT_DYLIB_PATH`. `threads`: how
    /// many threads one run uses; `sessions`: how many runs of one model may go on at once, for which it is loaded as
    /// often.
    ///
    /// # Errors
    /// When there is no library; the message names both ways to give one.
    pub fn new(library: Option<PathBuf>, threads: usize, sessions: usize) -> Result<Self, LoadError> {
        let path = library
            .or_else(|| std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from))
            .ok_or_else(|| LoadError(absent("no library is configured")))?;
        let failed = |error: String| LoadError(absent(&format!("{} cannot be loaded: {error}", path.display())));
        let environment = ort::init_from(&path)
            .map_err(|error| failed(error.to_string()))?
            .with_name("plimsoll")
            .with_telemetry(false)
            .build()
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self { environment, threads, sessions })
    }
}

fn absent(why: &str) -> String {
    format!(
        "the backend `onnxruntime` has no ONNX Runtime: {why}. Set `library` in `[backends.onnxruntime]` or the \
         variable ORT_DYLIB_PATH to the path of libonnxruntime.so (the PyPI package `onnxruntime` carries it in \
         onnxruntime/capi), or use the backend `rten`"
    )
}

struct Loaded {
    // `Session::run` takes `&mut self` in this version of the crate, so each has one run at a time.
    sessions: Vec<Mutex<Session>>,
    inputs: Vec<Signature>,
    outputs: Vec<Signature>,
}

impl Backend for OnnxRuntime {
    fn load(&self, source: &ModelSource) -> Result<Box<dyn Model>, LoadError> {
        let weights = PrepackedWeights::new();
        let sessions = (0..self.sessions).map(|_| self.session(source, &weights)).collect::<Result<Vec<_>, _>>();
        let sessions = sessions
            .map_err(|error| LoadError(format!("onnxruntime cannot load {}: {error}", source.path.display())))?;
        let session = sessions.first().ok_or_else(|| LoadError("onnxruntime has no session".to_owned()))?;
        let signatures = |outlets: &[Outlet]| outlets.iter().map(signature).collect::<Result<_, _>>();
        let (inputs, outputs) = (signatures(session.inputs())?, signatures(session.outputs())?);
        Ok(Box::new(Loaded { sessions: sessions.into_iter().map(Mutex::new).collect(), inputs, outputs }))
    }
}

fn signature(outlet: &Outlet) -> Result<Signature, LoadError> {
    let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
        return Err(LoadError(format!("`{}` is no tensor", outlet.name())));
    };
    Ok(Signature {
        name: outlet.name().to_owned(),
        types: element_type(*ty).into_iter().collect(),
        shape: Some(shape.iter().map(|&size| u32::try_from(size).ok()).collect()),
    })
}

impl OnnxRuntime {
    /// What the library makes of the weights for its kernels is shared by the sessions of a model.
    fn session(&self, source: &ModelSource, weights: &PrepackedWeights) -> Result<Session, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let mut builder = Session::builder(&self.environment).map_err(|error| text(&error))?;
        builder = builder.with_optimization_level(GraphOptimizationLevel::Level3).map_err(|error| text(&error))?;
        builder = builder.with_intra_threads(self.threads).map_err(|error| text(&error))?;
        builder = builder.with_prepacked_weights(weights).map_err(|error| text(&error))?;
        builder.commit_from_memory(&source.bytes).map_err(|error| text(&error))
    }
}

fn element_type(ty: TensorElementType) -> Option<TensorType> {
    Some(match ty {
        TensorElementType::Float32 => TensorType::Fp32,
        TensorElementType::Float64 => TensorType::Fp64,
        TensorElementType::Uint8 => TensorType::U8,
        TensorElementType::Int32 => TensorType::I32,
        TensorElementType::Int64 => TensorType::I64,
        _ => return None,
    })
}

impl Model for Loaded {
    fn inputs(&self) -> &[Signature] {
        &self.inputs
    }

    fn outputs(&self) -> &[Signature] {
        &self.outputs
    }

    fn concurrent_runs(&self) -> usize {
        self.sessions.len()
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Vec<(String, Tensor)>, String> {
        let values = self
            .inputs
            .iter()
            .zip(inputs)
            .map(|(input, tensor)| Ok((input.name.as_str(), value(tensor)?)))
            .collect::<Result<Vec<_>, String>>()?;
        let mut session = self.free_session();
        let outputs = session.run(values).map_err(|error| error.to_string())?;
        outputs.iter().map(|(name, value)| Ok((name.to_owned(), output(&value)?))).collect()
    }
}

impl Loaded {
    /// A session that has no run. There is one, for no more runs are let in than there are sessions; where the look at
    /// one came too early for it, the first is waited for.
    fn free_session(&self) -> MutexGuard<'_, Session> {
        let free = self.sessions.iter().find_map(|session| match session.try_lock() {
            Ok(session) => Some(session),
            // A run that panicked leaves the session as usable as it was.
            Err(TryLockError::Poisoned(session)) => Some(session.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        });
        free.unwrap_or_else(|| self.sessions[0].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A view over the host's bytes; they are aligned, for an allocation is.
fn value(tensor: &Tensor) -> Result<SessionInputValue<'_>, String> {
    fn view<'a, T>(shape: Vec<usize>, bytes: &'a [u8]) -> Result<SessionInputValue<'a>, String>
    where
        T: bytemuck::Pod + ort::value::PrimitiveTensorElementType + std::fmt::Debug,
    {
        let data = bytemuck::try_cast_slice::<u8, T>(bytes).map_err(|error| error.to_string())?;
        let view = TensorRef::from_array_view((shape, data)).map_err(|error| error.to_string())?;
        Ok(view.into())
    }
    let shape = tensor.dimensions.iter().map(|&size| size as usize).collect();
    match tensor.ty {
        TensorType::Fp32 => view::<f32>(shape, &tensor.data),
        TensorType::Fp64 => view::<f64>(shape, &tensor.data),
        TensorType::U8 => view::<u8>(shape, &tensor.data),
        TensorType::I32 => view::<i32>(shape, &tensor.data),
        TensorType::I64 => view::<i64>(shape, &tensor.data),
        other => Err(format!("tensors of {} are not supported yet", super::tensor::type_name(other))),
    }
}

fn output(value: &DynValue) -> Result<Tensor, String> {
    fn extract<T>(value: &DynValue, ty: TensorType) -> Result<Tensor, String>
    where
        T: bytemuck::NoUninit + ort::value::PrimitiveTensorElementType,
    {
        let (shape, data) = value.try_extract_tensor::<T>().map_err(|error| error.to_string())?;
        let dimensions = shape.iter().map(|&size| size as u32).collect();
        Ok(Tensor::new(dimensions, ty, bytemuck::cast_slice(data).to_vec()))
    }
    let ValueType::Tensor { ty, .. } = value.dtype() else {
        return Err("an output is no tensor".to_owned());
    };
    match element_type(*ty) {
        Some(TensorType::Fp32) => extract::<f32>(value, TensorType::Fp32),
        Some(TensorType::Fp64) => extract::<f64>(value, TensorType::Fp64),
        Some(TensorType::U8) => extract::<u8>(value, TensorType::U8),
        Some(TensorType::I32) => extract::<i32>(value, TensorType::I32),
        Some(TensorType::I64) => extract::<i64>(value, TensorType::I64),
        _ => Err(format!("outputs of {ty} are not supported")),
    }
}
