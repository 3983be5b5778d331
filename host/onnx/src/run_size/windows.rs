//! Operators that look at windows of an image: convolutions, pools and resizes.

use rten_onnx::onnx::NodeProto;

use super::value::Value;
use crate::node::Attributes;

/// One axis of a window.
struct Window {
    kernel: i64,
    stride: i64,
    dilation: i64,
    before: i64,
    after: i64,
}

fn window(node: &NodeProto, at: usize, spatial: usize, kernel: i64) -> Option<Window> {
    let of = |name: &str| node.ints(name).map_or(Some(1), |list| list.get(at).copied());
    let pads = node.ints("pads").unwrap_or_default();
    let pad = |index: usize| if pads.is_empty() { Some(0) } else { pads.get(index).copied() };
    let (stride, dilation) = (of("strides")?, of("dilations")?);
    (stride > 0 && kernel > 0 && dilation > 0).then_some(())?;
    Some(Window { kernel, stride, dilation, before: pad(at)?, after: pad(at + spatial)? })
}

/// The sizes of the kernel's axes: an attribute, or those of the weights after the first two.
fn kernel(node: &NodeProto, weights: Option<&Value>, spatial: usize) -> Option<Vec<i64>> {
    let kernel = match (node.ints("kernel_shape"), weights) {
        (Some(kernel), _) => kernel.to_vec(),
        (None, Some(weights)) => weights.dims.as_ref()?.get(2..)?.to_vec(),
        (None, None) => return None,
    };
    (kernel.len() == spatial).then_some(kernel)
}

/// `Conv`, `ConvInteger`, `QLinearConv` and pools (ONNX operator specification). `weights` are those of a convolution.
pub(super) fn windows(node: &NodeProto, image: &Value, weights: Option<&Value>) -> Option<Vec<i64>> {
    let dims = image.dims.as_ref()?;
    let spatial = dims.len().checked_sub(2)?;
    let kernel = kernel(node, weights, spatial)?;
    let channels = match weights {
        Some(weights) => *weights.dims.as_ref()?.first()?,
        None => dims[1],
    };
    let mut result = vec![dims[0], channels];
    let rounds_up = node.int_or("ceil_mode", 0) == 1;
    for (at, &kernel) in kernel.iter().enumerate() {
        let size = dims[at + 2];
        let Window { kernel, stride, dilation, before, after } = window(node, at, spatial, kernel)?;
        let reach = dilation * (kernel - 1) + 1;
        result.push(match node.text_or("auto_pad", "NOTSET") {
            "SAME_UPPER" | "SAME_LOWER" => size.checked_add(stride - 1)? / stride,
            auto_pad => {
                let (before, after) = if auto_pad == "VALID" { (0, 0) } else { (before, after) };
                let free = size.checked_add(before)?.checked_add(after)?.checked_sub(reach)?;
                (free >= 0).then_some(())?;
                let steps = if rounds_up { (free + stride - 1) / stride } else { free / stride };
                // The last window has to start in the image or in the padding before it.
                let is_outside = rounds_up && steps * stride >= size + before;
                steps + i64::from(!is_outside)
            }
        });
    }
    Some(result)
}

/// `ConvTranspose`.
pub(super) fn transposed(node: &NodeProto, image: &Value, weights: &Value) -> Option<Vec<i64>> {
    let dims = image.dims.as_ref()?;
    let spatial = dims.len().checked_sub(2)?;
    let kernel = kernel(node, Some(weights), spatial)?;
    let channels = weights.dims.as_ref()?.get(1)?.checked_mul(node.int_or("group", 1))?;
    let mut result = vec![dims[0], channels];
    if let Some(stated) = node.ints("output_shape") {
        result.extend(stated.iter().skip(stated.len().checked_sub(spatial)?));
        return Some(result);
    }
    for (at, &kernel) in kernel.iter().enumerate() {
        let Window { kernel, stride, dilation, before, after } = window(node, at, spatial, kernel)?;
        let added = node.ints("output_padding").map_or(Some(0), |list| list.get(at).copied())?;
        let size = dims[at + 2];
        result.push(match node.text_or("auto_pad", "NOTSET") {
            "SAME_UPPER" | "SAME_LOWER" => size.checked_mul(stride)?,
            _ => {
                let full = (size - 1).checked_mul(stride)?.checked_add(added + dilation * (kernel - 1) + 1)?;
                full - before - after
            }
        });
    }
    Some(result)
}

/// `Resize` and `Upsample`: by sizes, or by scales.
pub(super) fn resize(node: &NodeProto, operator: &str, opset: i64, inputs: &[&Value]) -> Option<Vec<i64>> {
    let given = |index: usize| node.input.get(index).is_some_and(|name| !name.is_empty());
    let mut dims = inputs[0].dims.clone()?;
    let axes = match node.ints("axes") {
        Some(axes) => axes.iter().map(|&axis| super::axes::place(axis, dims.len())).collect::<Option<Vec<_>>>()?,
        None => (0..dims.len()).collect(),
    };
    let is_stretched = matches!(node.text_or("keep_aspect_ratio_policy", "stretch"), "stretch");
    if operator == "Resize" && given(3) {
        let sizes = inputs[3].integers()?;
        for (at, &axis) in axes.iter().enumerate() {
            dims[axis] = *sizes.get(at).filter(|_| is_stretched)?;
        }
        return Some(dims);
    }
    // The sizes then follow from a region, which is an input.
    if node.text_or("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize" {
        return None;
    }
    let attribute = node.attribute("scales").map(|scales| scales.floats.iter().copied().map(f64::from).collect());
    let index = if operator == "Resize" && opset >= 11 { 2 } else { 1 };
    let scales: Vec<f64> = match attribute {
        Some(scales) => scales,
        None => inputs.get(index).filter(|_| given(index))?.elements.clone()?,
    };
    for (at, &axis) in axes.iter().enumerate() {
        // The engines multiply in FLOAT.
        let size = (dims[axis] as f32 * *scales.get(at)? as f32).floor();
        (0.0..9e18).contains(&size).then_some(())?;
        dims[axis] = size as i64;
    }
    Some(dims)
}
