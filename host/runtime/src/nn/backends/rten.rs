//! The embedded backend: [rten](https://docs.rs/rten), pure Rust, nothing to install.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

use half::f16;
use rten::{DataType, Dimension, Model as RtenModel, ModelOptions, NodeId, Value, ValueOrView, ValueType, ValueView};
use rten_tensor::Layout;

use crate::nn::chip::DeviceDescription;
use crate::nn::device::Device;
use crate::nn::error::{LoadError, Misfit, RunError, SettingsError};
use crate::nn::model::{Backend, BackendEntry, Model, ModelProperties, ModelSource, Signature};
use crate::tensor::{Tensor, TensorBytes, TensorType, Tensors};

/// The backend in the list. It has no settings.
pub(in crate::nn) const ENTRY: BackendEntry = BackendEntry {
    name: "rten",
    check: |settings| match settings.as_object().is_none_or(|settings| settings.is_empty()) {
        true => Ok(()),
        false => Err(SettingsError("the backend `rten` has no settings".to_owned())),
    },
    open: |_, _| Ok(Box::new(Rten)),
};

/// A path of more nodes than this gets a thread with a larger stack: a level takes 450 bytes, and half of the smallest stack of
/// a thread here is for it (that of the main thread may be limited to 1 MiB).
const SHALLOW: u64 = 1_000;
/// The stack of such a thread. What is not used takes no memory.
const DEEP_STACK: usize = 16 << 20;

/// The backend `rten`.
pub struct Rten;

struct Loaded {
    model: RtenModel,
    properties: ModelProperties,
    input_ids: Vec<NodeId>,
    output_ids: Vec<NodeId>,
    /// True if the model computes wrongly with NaN and infinities.
    needs_moderate_inputs: bool,
    /// The number of nodes of the longest path.
    longest_path: u64,
}

impl Backend for Rten {
    fn load(&self, source: &ModelSource) -> Result<Box<dyn Model>, LoadError> {
        if source.device != Device::Cpu {
            return Err(LoadError(format!(
                "target: the backend `rten` runs on the CPU only, not on `{}`; use the backend `onnxruntime`",
                source.device
            )));
        }
        if let Some(name) = source.options.keys().next() {
            return Err(LoadError(format!("options: the backend `rten` has no options; remove `{name}`")));
        }
        let failed = |reason: String| LoadError(format!("rten cannot load {}: {reason}", source.path.display()));
        let files: Vec<_> = source.external.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
        let prepared =
            plimsoll_onnx::prepare(source.bytes.to_vec(), &files).map_err(|error| failed(error.to_string()))?;
        // rten panics for some models, for example while it computes constants.
        let load = || {
            let mut options = ModelOptions::with_all_ops();
            for (name, (_, bytes)) in prepared.files.iter().zip(&source.external) {
                options.external_data(name, bytes.to_vec());
            }
            catch_unwind(AssertUnwindSafe(|| options.load(prepared.bytes)))
        };
        let model = with_stack(prepared.longest_path, load)
            .map_err(|error| failed(no_thread(&error)))?
            .map_err(|_| failed("it panicked while it loaded the model; use the backend `onnxruntime`".to_owned()))?
            .map_err(|error| failed(format!("{error}; use the backend `onnxruntime`")))?;
        let name = |&id: &NodeId| model.node_info(id).and_then(|info| info.name()).unwrap_or_default().to_owned();
        let input_ids = model.input_ids().to_vec();
        let inputs = input_ids
            .iter()
            .map(|id| {
                let mut signature = signature(&model, *id, name(id));
                signature.types.extend(prepared.input_types.get(&signature.name).and_then(|ty| declared(ty)));
                signature
            })
            .collect();
        let output_ids = model.output_ids().to_vec();
        if prepared.outputs.len() != output_ids.len() {
            return Err(failed("it did not return an output of the model; use the backend `onnxruntime`".to_owned()));
        }
        let outputs = output_ids
            .iter()
            .zip(prepared.outputs)
            .map(|(&id, output)| {
                let signature = signature(&model, id, output.name);
                // The engine may not know a shape that the file declares.
                Signature { shape: signature.shape.or(output.shape), ..signature }
            })
            .collect();
        Ok(Box::new(Loaded {
            properties: ModelProperties {
                time_depends_on_values: plimsoll_onnx::time_depends_on_values(&source.bytes),
                ..ModelProperties::on_cpu(inputs, outputs, usize::MAX)
            },
            input_ids,
            output_ids,
            needs_moderate_inputs: prepared.needs_moderate_inputs,
            longest_path: prepared.longest_path,
            model,
        }))
    }

    fn description(&self) -> String {
        "rten, built in".to_owned()
    }

    fn devices(&self) -> Vec<DeviceDescription> {
        vec![DeviceDescription {
            target: Some(Device::Cpu.to_string()),
            provider: "rten".to_owned(),
            kind: "CPU".to_owned(),
            vendor: String::new(),
            library: None,
            details: BTreeMap::new(),
        }]
    }
}

/// Calls `work`, on a thread with a larger stack if the engine needs it for a model with this path.
fn with_stack<T: Send>(longest_path: u64, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    if longest_path <= SHALLOW {
        return Ok(work());
    }
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("deep model".to_owned()).stack_size(DEEP_STACK);
        Ok(builder.spawn_scoped(scope, work)?.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

fn no_thread(error: &io::Error) -> String {
    format!("the system refuses a thread for a model with so long paths: {error}")
}

/// The signature of an input or output.
fn signature(model: &RtenModel, id: NodeId, name: String) -> Signature {
    let size = |size: &Dimension| match size {
        Dimension::Fixed(size) => u32::try_from(*size).ok(),
        Dimension::Symbolic(_) => None,
    };
    let info = model.node_info(id);
    Signature {
        name,
        types: info.as_ref().and_then(|info| info.dtype()).map(types).unwrap_or_default(),
        shape: info.and_then(|info| info.shape()).map(|shape| shape.iter().map(size).collect()),
    }
}

/// rten computes 64-bit integers as 32-bit integers; both are accepted for its 32-bit inputs.
fn types(ty: ValueType) -> Vec<TensorType> {
    match ty {
        ValueType::Tensor(DataType::Float) => vec![TensorType::Fp32],
        ValueType::Tensor(DataType::Int32) => vec![TensorType::I32, TensorType::I64],
        ValueType::Tensor(DataType::UInt8) => vec![TensorType::U8],
        ValueType::Tensor(DataType::Int8) => vec![TensorType::I8],
        _ => Vec::new(),
    }
}

/// The type that a file declares for an input, if rten computes it exactly as another one.
fn declared(ty: &str) -> Option<TensorType> {
    match ty {
        "FLOAT16" => Some(TensorType::Fp16),
        "BOOL" => Some(TensorType::Bool),
        _ => None,
    }
}

impl Model for Loaded {
    fn properties(&self) -> &ModelProperties {
        &self.properties
    }

    fn check_numbers(&self, _index: usize, tensor: &Tensor) -> Result<(), Misfit> {
        let found = match tensor.ty {
            TensorType::Fp32 if self.needs_moderate_inputs => find(&tensor.data, plimsoll_onnx::is_moderate),
            TensorType::Fp16 if self.needs_moderate_inputs => {
                let mut numbers = tensor.data.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32());
                numbers.find(|&number| !plimsoll_onnx::is_moderate(number))
            }
            TensorType::I64 => {
                let mut numbers = tensor.data.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes));
                return match numbers.find(|&number| i32::try_from(number).is_err()) {
                    Some(number) => Err(Misfit::Number(format!(
                        "the backend computes i64 as i32; {number} is too large; use the backend `onnxruntime`"
                    ))),
                    None => Ok(()),
                };
            }
            _ => None,
        };
        match found {
            Some(number) => Err(Misfit::Number(format!(
                "it contains {number:e}, and the backend `rten` loses NaN and infinities in this model; send numbers up \
                 to 1e18, or use the backend `onnxruntime`"
            ))),
            None => Ok(()),
        }
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Tensors, RunError> {
        let values = self
            .input_ids
            .iter()
            .zip(inputs)
            .map(|(&id, tensor)| Ok((id, value(tensor)?)))
            .collect::<Result<Vec<_>, RunError>>()?;
        let run = || self.model.run(values, &self.output_ids, None);
        let outputs = with_stack(self.longest_path, run).map_err(|error| RunError::Backend(no_thread(&error)))?;
        let outputs = outputs.map_err(|error| {
            let text = error.to_string();
            plimsoll_onnx::refused(&text).map_or(RunError::Backend(text), RunError::TooLarge)
        })?;
        self.outputs().iter().zip(outputs).map(|(output, value)| Ok((output.name.clone(), tensor(value)?))).collect()
    }
}

/// The first number that is not accepted.
fn find(data: &[u8], accepts: impl Fn(f32) -> bool) -> Option<f32> {
    let (elements, _) = data.as_chunks::<4>();
    // Whole chunks are compared, because the compiler makes vector instructions of that.
    let chunk = elements
        .chunks(1_024)
        .find(|chunk| !chunk.iter().fold(true, |all, &bytes| all & accepts(f32::from_le_bytes(bytes))))?;
    chunk.iter().map(|&bytes| f32::from_le_bytes(bytes)).find(|&number| !accepts(number))
}

/// A view of the tensor's bytes if they are aligned (an allocation always is), or else a copy.
fn value(tensor: &Tensor) -> Result<ValueOrView<'_>, RunError> {
    let shape: Vec<usize> = tensor.dimensions.iter().map(|&size| size as usize).collect();
    let bytes: &[u8] = &tensor.data;
    Ok(match tensor.ty {
        TensorType::Fp32 => match bytemuck::try_cast_slice::<u8, f32>(bytes) {
            Ok(data) => ValueView::from_shape(&shape[..], data).map_err(RunError::backend)?.into(),
            Err(_) => Value::from_shape(&shape[..], collect::<f32>(bytes)).map_err(RunError::backend)?.into(),
        },
        TensorType::I32 => Value::from_shape(&shape[..], collect::<i32>(bytes)).map_err(RunError::backend)?.into(),
        TensorType::U8 => ValueView::from_shape(&shape[..], bytes).map_err(RunError::backend)?.into(),
        TensorType::I8 => {
            let data: &[i8] = bytemuck::cast_slice(bytes);
            ValueView::from_shape(&shape[..], data).map_err(RunError::backend)?.into()
        }
        TensorType::Bool => {
            let wide: Vec<i32> = bytes.iter().map(|&byte| byte.into()).collect();
            Value::from_shape(&shape[..], wide).map_err(RunError::backend)?.into()
        }
        TensorType::Fp16 => {
            let wide: Vec<f32> =
                tensor.data.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect();
            Value::from_shape(&shape[..], wide).map_err(RunError::backend)?.into()
        }
        TensorType::I64 => {
            let narrow: Vec<i32> = collect::<i64>(bytes)
                .into_iter()
                .map(|value| i32::try_from(value).map_err(|_| RunError::Narrowed(value)))
                .collect::<Result<_, _>>()?;
            Value::from_shape(&shape[..], narrow).map_err(RunError::backend)?.into()
        }
        other => return Err(RunError::InputType(other)),
    })
}

fn collect<T: bytemuck::AnyBitPattern + bytemuck::NoUninit>(bytes: &[u8]) -> Vec<T> {
    bytemuck::allocation::pod_collect_to_vec(bytes)
}

fn tensor(value: Value) -> Result<Tensor, RunError> {
    let dimensions = value.shape().iter().map(|&size| size as u32).collect();
    let (ty, data) = match value {
        Value::FloatTensor(tensor) => (TensorType::Fp32, kept(tensor.into_data())),
        Value::Int32Tensor(tensor) => (TensorType::I32, kept(tensor.into_data())),
        Value::UInt8Tensor(tensor) => (TensorType::U8, tensor.into_data().into()),
        Value::Int8Tensor(tensor) => (TensorType::I8, kept(tensor.into_data())),
        other => return Err(RunError::OutputType(format!("of the type {:?}", other.dtype()))),
    };
    Ok(Tensor::with_bytes(dimensions, ty, data))
}

/// The numbers as bytes, without a copy.
fn kept<T: bytemuck::NoUninit + Send>(numbers: Vec<T>) -> TensorBytes {
    struct Numbers<T>(Vec<T>);

    impl<T: bytemuck::NoUninit> AsRef<[u8]> for Numbers<T> {
        fn as_ref(&self) -> &[u8] {
            bytemuck::cast_slice(&self.0)
        }
    }

    bytes::Bytes::from_owner(Numbers(numbers)).into()
}
