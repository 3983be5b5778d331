//! Reads the outputs of detectors: boxes with a class and a score, in the model's input. `detect-postprocess` describes the
//! layouts and the configuration.
//!
//! - [`Settings`]: the configuration. [`layout`]: the forms of the outputs.
//! - [`check`]: whether a model has these outputs. [`select_boxes`]: the boxes of a request.

pub mod check;
mod decode;
mod grids;
pub mod layout;
mod settings;
#[cfg(test)]
mod tests;

use plimsoll_sdk::{NamedTensor, Tensor, TensorType, tensor};
use postprocess_core::geometry::Geometry;
use postprocess_core::outputs::floats;
use postprocess_core::select;

pub use settings::{KEYS, Settings};

/// Checks the tensors and selects the boxes to report, best first. Boxes of classes that are not in `keep` are dropped before.
///
/// # Errors
/// If a tensor is missing, has another form, or a number that cannot be right. The message names it.
pub fn select_boxes(
    settings: &Settings,
    geometry: &Geometry,
    outputs: &[NamedTensor],
    keep: Option<&[usize]>,
) -> Result<Vec<select::Found<()>>, String> {
    let mut numbers = Vec::with_capacity(4);
    let mut shapes = Vec::with_capacity(4);
    for (role, name) in settings.outputs() {
        let output = tensor::find(outputs, name)?;
        shapes.push(output.dimensions().into_iter().map(Some).collect());
        let name = if let ("", [(only, _)]) = (name, outputs) { only } else { name };
        let values = read(output, role.integers).map_err(|error| format!("output `{name}`: {error}"))?;
        numbers.push(decode::Numbers { name, values });
    }
    let sizes = check::sizes(settings, &shapes)?;
    check::kept(settings, sizes, keep)?;
    let mut found = decode::decode(settings, geometry, &numbers, sizes)?;
    found.retain(|found| keep.is_none_or(|keep| keep.contains(&found.class)));
    Ok(select::select(&settings.rule, found))
}

/// The elements of a tensor. Whole numbers are class indices and counts, which f32 has exactly up to 2^24.
fn read(tensor: &Tensor, integers: bool) -> Result<Vec<f32>, String> {
    let data = match tensor.ty() {
        TensorType::I32 | TensorType::I64 if integers => tensor.data(),
        _ => return floats(tensor),
    };
    Ok(match tensor.ty() {
        TensorType::I32 => data.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes) as f32).collect(),
        _ => data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes) as f32).collect(),
    })
}
