//! Converts tensors of `wasi:nn` to values of rten and back. Both are row-major; the bytes of `wasi:nn` are
//! little-endian.

use half::f16;
use plimsoll_sdk::{Failure, Tensor, TensorType, tensor};
use rten::{DataType, Value, ValueType};
use rten_tensor::{AsView, Layout};

use crate::check::Input;

/// Converts a tensor to the value for an input. An i64 tensor is accepted for an i32 input if its elements fit, because
/// rten narrows the i64 of ONNX to i32.
///
/// # Errors
/// [`Failure::Internal`] if the tensor has another type than the input, [`Failure::InvalidInput`] if one of its numbers does
/// not fit.
pub fn to_value(input: &Input, tensor: &Tensor) -> Result<Value, Failure> {
    let number = |what: String| Failure::InvalidInput(format!("the tensor for the model's input {input} {what}"));
    let given = tensor.ty();
    let shape: Vec<usize> = tensor.dimensions().iter().map(|&size| size as usize).collect();
    let (kind, value) = match given {
        TensorType::Fp32 => (DataType::Float, value(input, shape, tensor::to_f32(tensor).map_err(Failure::Internal)?)?),
        TensorType::Fp16 if input.declared == Some("FLOAT16") => {
            let data = tensor.data();
            let elements: Vec<f32> =
                data.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect();
            (DataType::Float, value(input, shape, elements)?)
        }
        // `wasi:nn` has no booleans, so they are passed as bytes.
        TensorType::U8 if input.declared == Some("BOOL") => {
            let elements = tensor.data().into_iter().map(|byte| match byte {
                0 | 1 => Ok(i32::from(byte)),
                _ => Err(number(format!("has the value {byte}, which is no boolean; send 0 and 1"))),
            });
            (DataType::Int32, value(input, shape, elements.collect::<Result<Vec<i32>, Failure>>()?)?)
        }
        TensorType::U8 => (DataType::UInt8, value(input, shape, tensor.data())?),
        TensorType::I32 => {
            let data = tensor.data();
            let elements: Vec<i32> = data.as_chunks().0.iter().map(|&bytes| i32::from_le_bytes(bytes)).collect();
            // There is no tensor type of one signed byte, so its elements are passed as 32-bit integers.
            if input.kind == Some(ValueType::Tensor(DataType::Int8)) {
                let narrow = elements.into_iter().map(|element| {
                    i8::try_from(element)
                        .map_err(|_| number(format!("has the value {element}; send numbers from -128 to 127")))
                });
                (DataType::Int8, value(input, shape, narrow.collect::<Result<Vec<i8>, Failure>>()?)?)
            } else {
                (DataType::Int32, value(input, shape, elements)?)
            }
        }
        TensorType::I64 => {
            let data = tensor.data();
            let elements = data.as_chunks().0.iter().map(|&bytes| {
                let element = i64::from_le_bytes(bytes);
                i32::try_from(element).map_err(|_| {
                    number(format!(
                        "has the value {element}, which is too large: the model computes i64 as i32; send smaller \
                         numbers, or use `infer-native` with the backend `onnxruntime`"
                    ))
                })
            });
            (DataType::Int32, value(input, shape, elements.collect::<Result<Vec<i32>, Failure>>()?)?)
        }
        other => {
            let text = format!("the model's input {input} received a tensor {other:?}, which is not supported");
            return Err(Failure::Internal(text));
        }
    };
    if input.kind.is_some_and(|expected| expected != ValueType::Tensor(kind)) {
        return Err(Failure::Internal(format!("the model's input {input} received a tensor {given:?}")));
    }
    Ok(value)
}

fn value<T>(input: &Input, shape: Vec<usize>, elements: Vec<T>) -> Result<Value, Failure>
where
    Value: From<rten_tensor::Tensor<T>>,
{
    Value::from_shape(shape, elements)
        .map_err(|error| Failure::Internal(format!("the tensor for the model's input {input} is malformed: {error}")))
}

/// Converts the value of an output to a tensor. An i8 value becomes i32 because `wasi:nn` has no i8.
///
/// # Errors
/// If the value is not a tensor of a supported type. The text names the output.
pub fn from_value(name: &str, value: Value) -> Result<Tensor, String> {
    let sizes = |shape: &[usize]| shape.iter().map(|&size| size as u32).collect::<Vec<u32>>();
    match value {
        Value::FloatTensor(it) => Ok(tensor::from_f32(&sizes(it.shape()), &it.to_vec())),
        Value::UInt8Tensor(it) => Ok(tensor::from_u8(&sizes(it.shape()), &it.to_vec())),
        Value::Int32Tensor(it) => Ok(from_i32(&sizes(it.shape()), it.iter().copied())),
        Value::Int8Tensor(it) => Ok(from_i32(&sizes(it.shape()), it.iter().map(|&value| i32::from(value)))),
        other => Err(format!("the model's output `{name}` is a {}, which is not supported", other.dtype())),
    }
}

fn from_i32(shape: &[u32], elements: impl Iterator<Item = i32>) -> Tensor {
    let bytes: Vec<u8> = elements.flat_map(i32::to_le_bytes).collect();
    Tensor::new(shape, TensorType::I32, &bytes)
}
