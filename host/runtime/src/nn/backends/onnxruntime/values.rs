//! Tensors of the host as values of ONNX Runtime, and back.

use ort::session::SessionInputValue;
use ort::value::{DynValue, Tensor as OwnedTensor, TensorElementType, TensorRef, ValueType};

use crate::nn::error::RunError;
use crate::tensor::{Tensor, TensorType};

/// The host's name of an element type; `None` if the host does not support it.
pub(super) fn element_type(ty: TensorElementType) -> Option<TensorType> {
    Some(match ty {
        TensorElementType::Float32 => TensorType::Fp32,
        TensorElementType::Float64 => TensorType::Fp64,
        TensorElementType::Uint8 => TensorType::U8,
        TensorElementType::Int32 => TensorType::I32,
        TensorElementType::Int64 => TensorType::I64,
        _ => return None,
    })
}

/// A view of the host's bytes, or a copy if they are not aligned: an empty or a shared buffer may start anywhere.
pub(super) fn value(tensor: &Tensor) -> Result<SessionInputValue<'_>, RunError> {
    fn view<'a, T>(shape: Vec<usize>, bytes: &'a [u8]) -> Result<SessionInputValue<'a>, RunError>
    where
        T: bytemuck::Pod + ort::value::PrimitiveTensorElementType + std::fmt::Debug,
    {
        match bytemuck::try_cast_slice::<u8, T>(bytes) {
            Ok(data) => Ok(TensorRef::from_array_view((shape, data)).map_err(RunError::backend)?.into()),
            Err(_) => {
                let data: Vec<T> = bytemuck::allocation::pod_collect_to_vec(bytes);
                Ok(OwnedTensor::from_array((shape, data)).map_err(RunError::backend)?.into())
            }
        }
    }
    let shape = tensor.dimensions.iter().map(|&size| size as usize).collect();
    match tensor.ty {
        TensorType::Fp32 => view::<f32>(shape, &tensor.data),
        TensorType::Fp64 => view::<f64>(shape, &tensor.data),
        TensorType::U8 => view::<u8>(shape, &tensor.data),
        TensorType::I32 => view::<i32>(shape, &tensor.data),
        TensorType::I64 => view::<i64>(shape, &tensor.data),
        other => Err(RunError::InputType(other)),
    }
}

/// A copy of an output.
pub(super) fn output(value: &DynValue) -> Result<Tensor, RunError> {
    fn extract<T>(value: &DynValue, ty: TensorType) -> Result<Tensor, RunError>
    where
        T: bytemuck::NoUninit + ort::value::PrimitiveTensorElementType,
    {
        let (shape, data) = value.try_extract_tensor::<T>().map_err(RunError::backend)?;
        let dimensions = shape.iter().map(|&size| size as u32).collect();
        Ok(Tensor::new(dimensions, ty, bytemuck::cast_slice(data).to_vec()))
    }
    let ValueType::Tensor { ty, .. } = value.dtype() else {
        return Err(RunError::OutputType("not a tensor".to_owned()));
    };
    match element_type(*ty) {
        Some(TensorType::Fp32) => extract::<f32>(value, TensorType::Fp32),
        Some(TensorType::Fp64) => extract::<f64>(value, TensorType::Fp64),
        Some(TensorType::U8) => extract::<u8>(value, TensorType::U8),
        Some(TensorType::I32) => extract::<i32>(value, TensorType::I32),
        Some(TensorType::I64) => extract::<i64>(value, TensorType::I64),
        _ => Err(RunError::OutputType(format!("of the type {ty}"))),
    }
}
