//! Operators that look at windows of an image: convolutions, pools, resizes and paddings.

use rten_onnx::onnx::NodeProto;

use super::Proof;
use super::layout::from_front;
use super::size::Size;
use super::value::{Rows, Value, mixed};
use crate::node::Attributes;

/// Operators on images: the first axis has the images, which are computed one by one.
pub(super) fn image(proof: &mut Proof, node: &NodeProto, operator: &str, inputs: &[&Value]) -> Value {
    let Some((image, others)) = inputs.split_first() else { return Value::unknown("is not valid") };
    // Before operator set 14, further outputs mean training; before 7, an attribute.
    let trains = operator == "BatchNormalization"
        && (node.int_or("training_mode", 0) == 1
            || proof.opset < 14 && node.output.len() > 1
            || proof.opset < 7 && node.int_or("is_test", 0) == 0);
    if trains && matches!(image.rows, Rows::Along(_)) {
        return mixed("is in training mode, which normalises rows together");
    }
    let others_are_free = match operator {
        // The points of each image.
        "GridSample" => others.iter().all(|other| other.rows == image.rows || other.is_free() && image.is_free()),
        // The sum that is added, and sizes that are computed from those of the rows.
        "FusedConv" | "NhwcFusedConv" => others.iter().enumerate().all(|(at, other)| {
            other.is_free() || at == 2 && other.rows == image.rows && other.size(0) == image.size(0)
        }),
        "Resize" => others
            .iter()
            .enumerate()
            .all(|(at, other)| other.is_free() || at == 2 && other.rows == Rows::Count && other.elements.is_some()),
        _ => others.iter().all(|other| other.is_free()),
    };
    if let Rows::Unknown(why) = &image.rows {
        return Value::unknown(why.clone());
    }
    if !others_are_free {
        return Value::unknown("has weights that are not constant");
    }
    let Rows::Along(axis) = image.rows else { return Value::new(Rows::Free, None) };
    if axis != 0 {
        return mixed("treats rows as channels or pixels");
    }
    if matches!(operator, "Resize" | "Upsample") && !keeps_rows(node, operator, inputs) {
        return Value::unknown("may resize the axis of the rows");
    }
    if matches!(operator, "BatchNormalization" | "InstanceNormalization" | "GroupNormalization" | "LRN") {
        return Value::new(Rows::Along(0), image.sizes.clone());
    }
    let Some(sizes) = &image.sizes else { return Value::new(Rows::Along(0), None) };
    let mut result = sizes.clone();
    for (axis, size) in result.iter_mut().enumerate().skip(1) {
        *size = pooled(node, operator, inputs, axis, size).unwrap_or_else(|| proof.symbol());
    }
    Value::new(Rows::Along(0), Some(result))
}

/// True if a `Resize` keeps the axis of the rows: its scale is exactly 1 (a scale near 1 can keep the number of rows, and
/// yet move them), and no other size depends on the number of rows.
pub(super) fn keeps_rows(node: &NodeProto, operator: &str, inputs: &[&Value]) -> bool {
    let given = |index: usize| node.input.get(index).is_some_and(|name| !name.is_empty());
    let is_one =
        |index: usize| inputs.get(index).and_then(|scales| scales.ones.as_ref()?.first().copied()) == Some(true);
    if operator == "Upsample" {
        let stated = node.attribute("scales").and_then(|scales| scales.floats.first().copied());
        // The first version has a scale of the width and one of the height.
        return stated == Some(1.0) || given(1) && is_one(1) || node.attribute("height_scale").is_some();
    }
    let has_counts = |index: usize| {
        given(index) && inputs[index].elements.as_ref().is_none_or(|sizes| sizes.iter().any(Size::has_rows))
    };
    if let Some(axes) = node.ints("axes") {
        let counts = given(3) && inputs[3].rows == Rows::Count && has_counts(3);
        return axes.iter().all(|&axis| axis > 0) && !counts;
    }
    // A region, or a ratio to keep, could also change the axis of the rows.
    if node.text_or("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
        || node.text_or("keep_aspect_ratio_policy", "stretch") != "stretch"
    {
        return false;
    }
    if given(3) {
        let Some([first, others @ ..]) = inputs[3].elements.as_deref() else { return false };
        return Some(first) == inputs[0].size(0) && !others.iter().any(Size::has_rows);
    }
    // Operator set 10 has no region.
    is_one(if given(2) { 2 } else { 1 })
}

/// True if a `Resize` certainly keeps the size of an axis.
fn unchanged(node: &NodeProto, inputs: &[&Value], axis: usize) -> bool {
    if let Some(axes) = node.ints("axes") {
        return axes.iter().all(|&other| other >= 0 && other as usize != axis);
    }
    let stated = node.attribute("scales").and_then(|scales| scales.floats.get(axis).copied());
    let is_one = |scales: &&&Value| scales.ones.as_ref().and_then(|ones| ones.get(axis)) == Some(&true);
    let size = inputs.get(3).and_then(|sizes| sizes.elements.as_ref()?.get(axis));
    stated == Some(1.0)
        || node.attribute("height_scale").is_some()
        || inputs.iter().skip(1).any(|scales| is_one(&scales))
        || size.is_some() && size == inputs[0].size(axis)
}

/// The size of an axis after a convolution or a pool, if it is a number.
pub(super) fn pooled(node: &NodeProto, operator: &str, inputs: &[&Value], axis: usize, size: &Size) -> Option<Size> {
    let spatial = axis.checked_sub(2);
    let (operator, weights) = match operator {
        "FusedConv" => ("Conv", 1),
        "QLinearConv" if node.int_or("channels_last", 0) == 0 => ("Conv", 3),
        _ => (operator, 1),
    };
    match (operator, spatial) {
        ("Conv", None) => inputs.get(weights)?.size(0).cloned(),
        ("GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool", Some(_)) => Some(Size::number(1)),
        ("AveragePool" | "MaxPool" | "LpPool" | "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool", None) => {
            Some(size.clone())
        }
        ("Resize" | "Upsample", None) => unchanged(node, inputs, axis).then(|| size.clone()),
        ("Conv" | "AveragePool" | "MaxPool" | "LpPool", Some(at)) => {
            let size = size.as_number()?;
            let of = |name: &str, default: i64| node.ints(name).map_or(Some(default), |list| list.get(at).copied());
            let kernel = match node.ints("kernel_shape") {
                Some(kernel) => *kernel.get(at)?,
                None => inputs.get(weights)?.size(axis)?.as_number()?,
            };
            let (stride, dilation) = (of("strides", 1)?, of("dilations", 1)?);
            if stride < 1 {
                return None;
            }
            match node.text_or("auto_pad", "NOTSET") {
                "SAME_UPPER" | "SAME_LOWER" => return Some(Size::number((size + stride - 1) / stride)),
                "NOTSET" | "VALID" | "" => {}
                _ => return None,
            }
            let pads = node.ints("pads").unwrap_or_default();
            let pad = if pads.is_empty() { 0 } else { pads.get(at)? + pads.get(at + pads.len() / 2)? };
            let free = size + pad - dilation * (kernel - 1) - 1;
            let steps = if node.int_or("ceil_mode", 0) == 1 { (free + stride - 1) / stride } else { free / stride };
            (free >= 0 && node.int_or("ceil_mode", 0) == 0).then(|| Size::number(steps + 1))
        }
        _ => None,
    }
}

pub(super) fn pad(proof: &mut Proof, node: &NodeProto, inputs: &[&Value]) -> Value {
    let Some(input) = inputs.first() else { return Value::unknown("is not valid") };
    if inputs[1..].iter().any(|other| !other.is_free()) {
        return Value::unknown("pads by numbers that are not constant");
    }
    let pads = node.ints("pads").map(<[i64]>::to_vec).or_else(|| inputs.get(1)?.numbers());
    let has_axes = node.input.get(3).is_some_and(|name| !name.is_empty());
    let (Rows::Along(axis), Some(sizes)) = (&input.rows, &input.sizes) else {
        return proof.without_sizes(input, "pads a value of unknown rank");
    };
    let rank = sizes.len();
    let axes = match (has_axes, inputs.get(3).and_then(|axes| axes.numbers())) {
        (false, _) => Some((0..rank).collect::<Vec<_>>()),
        (true, axes) => axes.and_then(|axes| axes.iter().map(|&axis| from_front(axis, rank)).collect()),
    };
    let (Some(pads), Some(axes)) = (pads, axes) else { return Value::unknown("pads by numbers that are not constant") };
    if pads.len() != 2 * axes.len() {
        return Value::unknown("is not valid");
    }
    let mut result = sizes.clone();
    for (at, &padded) in axes.iter().enumerate() {
        let (before, after) = (pads[at], pads[at + axes.len()]);
        if (before, after) == (0, 0) {
            continue;
        }
        if padded == *axis {
            return mixed("pads the rows");
        }
        result[padded] = match sizes[padded].as_number() {
            Some(size) => size
                .checked_add(before)
                .and_then(|size| size.checked_add(after))
                .map_or_else(|| proof.symbol(), Size::number),
            None => proof.symbol(),
        };
    }
    Value::new(Rows::Along(*axis), Some(result))
}
