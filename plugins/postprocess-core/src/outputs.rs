//! The outputs of a model: found by their configured names, with checks of types and numbers.

use half::{bf16, f16};
use plimsoll_sdk::model::{self, Declared};
use plimsoll_sdk::{NamedTensor, Tensor, TensorType, tensor};

/// The element types that [`numbers`] reads, as the model declares them.
pub const FLOATS: &[&str] = &["fp32", "fp16", "bf16", "fp64"];

/// The declared output with this name, or the only one if `name` is empty. `key` is the configuration key with the name,
/// `types` are the element types that the plugin reads.
///
/// # Errors
/// If there is no such output, or its type is another. The message says how to fix it.
pub fn declared<'a>(outputs: &'a [Declared], key: &str, name: &str, types: &[&str]) -> Result<&'a Declared, String> {
    let found = model::find(outputs, name).ok_or_else(|| {
        let problem = match name {
            "" => "the model does not have exactly one output".to_owned(),
            _ => format!("the model has no output `{name}`"),
        };
        format!(
            "{problem}; its outputs are: {}. Set the configuration key `{key}` to the right output, or use another \
             postprocess plugin",
            model::names(outputs)
        )
    })?;
    match found.element_type.as_deref().filter(|ty| !types.contains(ty)) {
        None => Ok(found),
        Some(other) => Err(format!(
            "output `{}` has elements of type {other}, but this plugin reads {}: set the configuration key `{key}` to the \
             right output, or export the model with this output as {}",
            found.name,
            types.join(", "),
            types[0]
        )),
    }
}

/// A probability may be outside of 0 to 1 by this much, because quantised models round.
const TOLERANCE: f32 = 0.01;

/// Checks that scores are probabilities, also those of boxes that are not reported.
///
/// # Errors
/// If a score is less than 0 or greater than 1.
pub fn probabilities(name: &str, scores: &[f32]) -> Result<(), String> {
    let is_valid = |score: f32| (-TOLERANCE..=1.0 + TOLERANCE).contains(&score);
    if scores.iter().fold(true, |are_valid, &score| are_valid & is_valid(score)) {
        return Ok(());
    }
    let wrong = scores.iter().find(|&&score| !is_valid(score)).unwrap_or(&f32::NAN);
    Err(format!(
        "output `{name}`: the score {wrong} is not a probability from 0 to 1: the model returns logits, or its outputs have \
         another form than the configured `layout`"
    ))
}

/// The tensor with this name, or the only one if `name` is empty, and its name.
///
/// # Errors
/// If there is no such tensor. The message lists the names of all tensors.
pub fn find<'a>(outputs: &'a [NamedTensor], name: &'a str) -> Result<(&'a str, &'a Tensor), String> {
    let found = tensor::find(outputs, name)?;
    Ok(match outputs {
        [(only, _)] => (only, found),
        _ => (name, found),
    })
}

/// The shape of a tensor in the form of a declared shape.
pub fn shape(tensor: &Tensor) -> Vec<Option<u32>> {
    tensor.dimensions().into_iter().map(Some).collect()
}

/// The elements of a tensor of f32, f16, bf16 or f64, row-major. Those of f64 are rounded.
///
/// # Errors
/// If the elements have another type. The message names it.
pub fn floats(tensor: &Tensor) -> Result<Vec<f32>, String> {
    let data = || tensor.data();
    Ok(match tensor.ty() {
        TensorType::Fp16 => data().as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect(),
        TensorType::Bf16 => data().as_chunks().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect(),
        TensorType::Fp64 => data().as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect(),
        _ => return tensor::to_f32(tensor),
    })
}

/// The same without rounding those of f64.
///
/// # Errors
/// If the elements have another type. The message names it.
pub fn wide(tensor: &Tensor) -> Result<Vec<f64>, String> {
    Ok(match tensor.ty() {
        TensorType::Fp64 => tensor.data().as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect(),
        _ => floats(tensor)?.into_iter().map(f64::from).collect(),
    })
}

/// The elements of a tensor as [`wide`] reads them, if all of them are finite in f32, which replies have.
///
/// # Errors
/// As [`numbers`].
pub fn wide_numbers(name: &str, tensor: &Tensor) -> Result<Vec<f64>, String> {
    let numbers = wide(tensor).map_err(|error| format!("output `{name}`: {error}"))?;
    match numbers.iter().position(|number| !(*number as f32).is_finite()) {
        None => Ok(numbers),
        Some(index) => {
            Err(format!("output `{name}`: element {index} is not a finite number in f32 ({})", numbers[index]))
        }
    }
}

/// The elements of a tensor as [`floats`] reads them, if all of them are finite.
///
/// # Errors
/// If the elements have another type, or one of them is NaN or infinite: the model or its preprocessing is wrong, so the
/// other elements are not trusted either. The message names the output.
pub fn numbers(name: &str, tensor: &Tensor) -> Result<Vec<f32>, String> {
    let numbers = floats(tensor).map_err(|error| format!("output `{name}`: {error}"))?;
    // Without an early exit the compiler uses SIMD instructions.
    if numbers.iter().fold(true, |are_finite, number| are_finite & number.is_finite()) {
        return Ok(numbers);
    }
    let index = numbers.iter().position(|number| !number.is_finite()).unwrap_or_default();
    Err(format!("output `{name}`: element {index} is not a finite number ({})", numbers[index]))
}
