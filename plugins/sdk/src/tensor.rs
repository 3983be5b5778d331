//! Creates and reads tensors of f32 and u8, and creates tensors of f16 and bf16. Shapes are row-major, outermost dimension first. The bytes of a `wasi:nn`
//! tensor are little-endian, like linear memory.
//!
//! Models may have more element types than `wasi:nn`. A plugin sees such a tensor in the next wider type: bool as u8; i8,
//! i16 and u16 as i32; u32 and u64 as i64. For an input of such a type it creates a tensor of the wider type; the host
//! refuses numbers that the model's own type does not have.

use crate::{NamedTensor, Tensor, TensorType};

/// Creates a tensor of 32-bit floats. `shape` has the sizes of the dimensions; `data` has the elements, row-major.
/// The elements are copied once, into the host.
///
/// # Panics
/// If the product of the sizes is not the number of elements. That is a bug in the plugin; the host reports a trap.
pub fn from_f32(shape: &[u32], data: &[f32]) -> Tensor {
    check_size(shape, data.len());
    Tensor::new(shape, TensorType::Fp32, bytemuck::cast_slice(data))
}

/// Creates a tensor of bytes; see [`from_f32`].
///
/// # Panics
/// If the product of the sizes is not the number of elements.
pub fn from_u8(shape: &[u32], data: &[u8]) -> Tensor {
    check_size(shape, data.len());
    Tensor::new(shape, TensorType::U8, data)
}

/// Creates a tensor of half precision from the bits of its elements (`half::f16::to_bits`); see [`from_f32`].
///
/// # Panics
/// If the product of the sizes is not the number of elements.
pub fn from_f16(shape: &[u32], bits: &[u16]) -> Tensor {
    check_size(shape, bits.len());
    Tensor::new(shape, TensorType::Fp16, bytemuck::cast_slice(bits))
}

/// Creates a tensor of bf16 from the bits of its elements (`half::bf16::to_bits`); see [`from_f32`].
///
/// # Panics
/// If the product of the sizes is not the number of elements.
pub fn from_bf16(shape: &[u32], bits: &[u16]) -> Tensor {
    check_size(shape, bits.len());
    Tensor::new(shape, TensorType::Bf16, bytemuck::cast_slice(bits))
}

fn check_size(shape: &[u32], elements: usize) {
    let expected: usize = shape.iter().map(|&size| size as usize).product();
    assert_eq!(expected, elements, "a tensor of shape {shape:?} has {expected} elements, but {elements} were given");
}

/// The elements of a tensor of 32-bit floats, row-major.
///
/// # Errors
/// If the tensor has another element type. The message names it.
pub fn to_f32(tensor: &Tensor) -> Result<Vec<f32>, String> {
    match tensor.ty() {
        TensorType::Fp32 => Ok(bytemuck::allocation::pod_collect_to_vec(&tensor.data())),
        other => Err(format!("expected a tensor of f32, but this one has elements of type {other:?}")),
    }
}

/// The elements of a tensor of bytes, row-major.
///
/// # Errors
/// If the tensor has another element type. The message names it.
pub fn to_u8(tensor: &Tensor) -> Result<Vec<u8>, String> {
    match tensor.ty() {
        TensorType::U8 => Ok(tensor.data()),
        other => Err(format!("expected a tensor of u8, but this one has elements of type {other:?}")),
    }
}

/// The tensor with this name, or the only tensor if `name` is empty.
///
/// # Errors
/// If there is no such tensor. The message lists the names of all tensors.
pub fn find<'a>(tensors: &'a [NamedTensor], name: &str) -> Result<&'a Tensor, String> {
    match tensors {
        [(_, only)] if name.is_empty() => Ok(only),
        _ => tensors.iter().find(|(other, _)| other == name).map(|(_, tensor)| tensor).ok_or_else(|| {
            let names: Vec<_> = tensors.iter().map(|(name, _)| name.as_str()).collect();
            format!("there is no tensor {name:?}; the tensors are {names:?}")
        }),
    }
}
