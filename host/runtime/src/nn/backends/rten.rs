//! The embedded backend: [rten](https://docs.rs/rten), pure Rust, nothing to install.

use rten::{DataType, Dimension, Model as RtenModel, NodeId, Value, ValueOrView, ValueType, ValueView};
use rten_tensor::Layout;

use crate::nn::device::Device;
use crate::nn::model::{Backend, BackendEntry, LoadError, Model, ModelSource, RunError, SettingsError, Signature};
use crate::nn::onnx_rewrite::with_explicit_axes;
use crate::tensor::{Tensor, TensorType, Tensors};

/// The backend in the list. It has no settings.
pub(in crate::nn) const ENTRY: BackendEntry = BackendEntry {
    name: "rten",
    check: |settings| match settings.as_object().is_none_or(|settings| settings.is_empty()) {
        true => Ok(()),
        false => Err(SettingsError("the backend `rten` has no settings".to_owned())),
    },
    open: |_, _| Ok(Box::new(Rten)),
};

/// The backend `rten`.
pub struct Rten;

struct Loaded {
    model: RtenModel,
    inputs: Vec<Signature>,
    input_ids: Vec<NodeId>,
    output_ids: Vec<NodeId>,
    outputs: Vec<Signature>,
}

impl Backend for Rten {
    fn load(&self, source: &ModelSource) -> Result<Box<dyn Model>, LoadError> {
        if source.device != Device::Cpu {
            return Err(LoadError(format!(
                "target: the backend `rten` runs on the CPU only, not on `{}`; use the backend `onnxruntime`",
                source.device
            )));
        }
        let model = RtenModel::load(with_explicit_axes(source.bytes.to_vec()))
            .map_err(|error| LoadError(format!("rten cannot load {}: {error}", source.path.display())))?;
        let named = |ids: &[NodeId]| -> (Vec<NodeId>, Vec<Signature>) {
            ids.iter().filter_map(|&id| Some((id, signature(&model, id)?))).unzip()
        };
        let (input_ids, inputs) = named(model.input_ids());
        let (output_ids, outputs) = named(model.output_ids());
        Ok(Box::new(Loaded { inputs, input_ids, output_ids, outputs, model }))
    }
}

/// The signature of an input or output; `None` if it has no name.
fn signature(model: &RtenModel, id: NodeId) -> Option<Signature> {
    let info = model.node_info(id)?;
    let size = |size: &Dimension| match size {
        Dimension::Fixed(size) => u32::try_from(*size).ok(),
        Dimension::Symbolic(_) => None,
    };
    Some(Signature {
        name: info.name()?.to_owned(),
        types: info.dtype().map(types).unwrap_or_default(),
        shape: info.shape().map(|shape| shape.iter().map(size).collect()),
    })
}

/// rten computes 64-bit integers as 32-bit integers; both are accepted for its 32-bit inputs.
fn types(ty: ValueType) -> Vec<TensorType> {
    match ty {
        ValueType::Tensor(DataType::Float) => vec![TensorType::Fp32],
        ValueType::Tensor(DataType::Int32) => vec![TensorType::I32, TensorType::I64],
        ValueType::Tensor(DataType::UInt8) => vec![TensorType::U8],
        _ => Vec::new(),
    }
}

impl Model for Loaded {
    fn inputs(&self) -> &[Signature] {
        &self.inputs
    }

    fn outputs(&self) -> &[Signature] {
        &self.outputs
    }

    fn concurrent_runs(&self) -> usize {
        usize::MAX
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Tensors, RunError> {
        let values = self
            .input_ids
            .iter()
            .zip(inputs)
            .map(|(&id, tensor)| Ok((id, value(tensor)?)))
            .collect::<Result<Vec<_>, RunError>>()?;
        let outputs = self.model.run(values, &self.output_ids, None).map_err(RunError::backend)?;
        self.outputs.iter().zip(outputs).map(|(output, value)| Ok((output.name.clone(), tensor(value)?))).collect()
    }
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
        Value::FloatTensor(tensor) => (TensorType::Fp32, bytes(&tensor.into_data())),
        Value::Int32Tensor(tensor) => (TensorType::I32, bytes(&tensor.into_data())),
        Value::UInt8Tensor(tensor) => (TensorType::U8, tensor.into_data()),
        other => return Err(RunError::OutputType(format!("of the type {:?}", other.dtype()))),
    };
    Ok(Tensor::new(dimensions, ty, data))
}

fn bytes<T: bytemuck::NoUninit>(data: &[T]) -> Vec<u8> {
    bytemuck::cast_slice(data).to_vec()
}
