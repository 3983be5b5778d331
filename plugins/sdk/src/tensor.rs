//! Tensors of f32 and u8. Shapes are row-major, outermost dimension first; the bytes of a `wasi:nn` tensor
//! are little-endian, as linear memory is.

use crate::{NamedTensor, Tensor, TensorType};

/// A tensor of 32-bit floats. `shape`: sizes of the dimensions; `data`: their product of elements, row-major.
/// The elements are copied once, into the host.
///
/// # Panics
/// When the shape's product is not the number of elements: a bug of the plugin, so the log shows it as a trap.
pub fn from_f32(shape: &[u32], data: &[f32]) -> Tensor {
    check(shape, data.len());
    Tensor::new(shape, TensorType::Fp32, bytemuck::cast_slice(data))
}

/// A tensor of bytes; otherwise as [`from_f32`].
///
/// # Panics
/// As [`from_f32`].
pub fn from_u8(shape: &[u32], data: &[u8]) -> Tensor {
    check(shape, data.len());
    Tensor::new(shape, TensorType::U8, data)
}

fn check(shape: &[u32], elements: usize) {
    let expected: usize = shape.iter().map(|&size| size as usize).product();
    assert_eq!(expected, elements, "a tensor of shape {shape:?} has {expected} elements, {elements} were given");
}

/// The elements of a tensor of 32-bit floats, row-major.
///
/// # Errors
/// A sentence that names the type, when it is not f32.
pub fn to_f32(tensor: &Tensor) -> Result<Vec<f32>, String> {
    match tensor.ty() {
        TensorType::Fp32 => Ok(bytemuck::allocation::pod_collect_to_vec(&tensor.data())),
        other => Err(format!("a tensor of f32 is needed, this one holds {other:?}")),
    }
}

/// The elements of a tensor of bytes, row-major.
///
/// # Errors
/// A sentence that names the type, when it is not u8.
pub fn to_u8(tensor: &Tensor) -> Result<Vec<u8>, String> {
    match tensor.ty() {
        TensorType::U8 => Ok(tensor.data()),
        other => Err(format!("a tensor of u8 is needed, this one holds {other:?}")),
    }
}

/// The tensor with this name, or the only one when `name` is empty.
///
/// # Errors
/// A sentence that names the tensors there are.
pub fn find<'a>(tensors: &'a [NamedTensor], name: &str) -> Result<&'a Tensor, String> {
    match tensors {
        [(_, only)] if name.is_empty() => Ok(only),
        _ => tensors.iter().find(|(other, _)| other == name).map(|(_, tensor)| tensor).ok_or_else(|| {
            let names: Vec<_> = tensors.iter().map(|(name, _)| name.as_str()).collect();
            format!("there is no tensor {name:?} among {names:?}")
        }),
    }
}
