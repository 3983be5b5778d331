//! Outputs as JSON, with the members that the Open Inference Protocol has for them.

use std::io::Write;

use half::{bf16, f16};
use plimsoll_sdk::TensorType;

use crate::Output;

/// The text. It is written output by output, so that the memory for the elements of one output is enough.
///
/// # Errors
/// If an element is NaN or infinite, which JSON does not have. The message names the output and the element.
pub fn text<'a>(outputs: impl Iterator<Item = Output<'a>>) -> Result<Vec<u8>, String> {
    let mut text = Vec::from(b"{\"outputs\":[");
    for (index, output) in outputs.enumerate() {
        if index > 0 {
            text.push(b',');
        }
        let head = serde_json::json!([output.name, datatype(output.element_type), output.shape]);
        // Writing to memory does not fail.
        let _ = write!(text, "{{\"name\":{},\"datatype\":{},\"shape\":{},\"data\":[", head[0], head[1], head[2]);
        elements(&output, &mut text)?;
        text.extend(b"]}");
    }
    text.extend(b"]}");
    Ok(text)
}

/// The name of the type in the Open Inference Protocol.
fn datatype(element_type: TensorType) -> &'static str {
    match element_type {
        TensorType::Fp16 => "FP16",
        TensorType::Fp32 => "FP32",
        TensorType::Fp64 => "FP64",
        TensorType::Bf16 => "BF16",
        TensorType::U8 => "UINT8",
        TensorType::I32 => "INT32",
        TensorType::I64 => "INT64",
    }
}

fn elements(output: &Output, text: &mut Vec<u8>) -> Result<(), String> {
    let data = output.data.as_slice();
    match output.element_type {
        TensorType::Fp16 => floats(output.name, data, |bytes| f16::from_le_bytes(bytes).to_f32(), text),
        TensorType::Bf16 => floats(output.name, data, |bytes| bf16::from_le_bytes(bytes).to_f32(), text),
        TensorType::Fp32 => floats(output.name, data, f32::from_le_bytes, text),
        TensorType::Fp64 => floats(output.name, data, f64::from_le_bytes, text),
        TensorType::U8 => integers(data, |[byte]: [u8; 1]| byte, text),
        TensorType::I32 => integers(data, i32::from_le_bytes, text),
        TensorType::I64 => integers(data, i64::from_le_bytes, text),
    }
}

fn integers<const N: usize, T: serde::Serialize>(
    data: &[u8],
    read: impl Fn([u8; N]) -> T,
    text: &mut Vec<u8>,
) -> Result<(), String> {
    for (index, bytes) in data.as_chunks().0.iter().enumerate() {
        write(index, &read(*bytes), text);
    }
    Ok(())
}

fn floats<const N: usize, T: serde::Serialize + Into<f64> + Copy>(
    name: &str,
    data: &[u8],
    read: impl Fn([u8; N]) -> T,
    text: &mut Vec<u8>,
) -> Result<(), String> {
    for (index, bytes) in data.as_chunks().0.iter().enumerate() {
        let number = read(*bytes);
        let wide: f64 = number.into();
        if !wide.is_finite() {
            return Err(format!(
                "output `{name}`: element {index} is {wide}, which JSON does not have: the model or its preprocessing is \
                 wrong, or set the configuration key `format` to `npz` or `safetensors`"
            ));
        }
        write(index, &number, text);
    }
    Ok(())
}

fn write(index: usize, number: &impl serde::Serialize, text: &mut Vec<u8>) {
    if index > 0 {
        text.push(b',');
    }
    // Writing a number to memory does not fail.
    let _ = serde_json::to_writer(text, number);
}
