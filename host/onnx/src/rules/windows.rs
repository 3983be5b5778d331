//! Convolution and pooling.

use rten_onnx::onnx::NodeProto;

use super::arithmetic::rank_needed;
use super::kinds::{self, FLOATS};
use super::{Replaced, keep};
use crate::node::{Attributes, Edit};
use crate::rejected::Reason;
use crate::site::Site;

/// `Conv` and `ConvInteger`.
pub(super) fn conv(mut node: NodeProto, site: &mut Site) -> Replaced {
    let kernel = kernel(&node, site)?;
    if kernel.len() > 2 {
        return Err(three_dimensions());
    }
    set_defaults(&mut node, kernel.len());
    set_padding(&mut node, &kernel, site)?;
    keep(node, site)
}

/// `ConvInteger`.
pub(super) fn conv_integer(_: NodeProto, _: &mut Site) -> Replaced {
    Err(Reason::with_fix(
        "computes it wrongly with padding, groups and signed weights",
        "quantise the model with `QuantizeLinear` and `DequantizeLinear` around `Conv`",
    ))
}

/// `ConvTranspose`.
pub(super) fn conv_transpose(mut node: NodeProto, site: &mut Site) -> Replaced {
    let kernel = kernel(&node, site)?;
    if kernel.len() > 2 {
        return Err(three_dimensions());
    }
    if node.attribute("output_shape").is_some() {
        return Err(Reason::with_fix("does not support `output_shape`", "set `pads` and `output_padding`"));
    }
    if node.text_or("auto_pad", "NOTSET").starts_with("SAME") {
        return Err(Reason::with_fix("does not support this `auto_pad`", "set `pads`"));
    }
    set_defaults(&mut node, kernel.len());
    keep(node, site)
}

/// `MaxPool` and `AveragePool`.
pub(super) fn pool(mut node: NodeProto, site: &mut Site) -> Replaced {
    site.remove_unused_outputs(&mut node);
    if node.output(1).is_some() {
        return Err(Reason::unsupported("does not compute the indices of `MaxPool`"));
    }
    super::only_int(&node, "dilations", 1)?;
    super::only_int(&node, "storage_order", 0)?;
    let kernel: Vec<Option<i64>> =
        node.ints("kernel_shape").unwrap_or_default().iter().map(|&size| Some(size)).collect();
    if kernel.len() > 2 {
        return Err(three_dimensions());
    }
    if node.ints("strides").is_none() {
        node.set_ints("strides", &vec![1; kernel.len()]);
    }
    set_padding(&mut node, &kernel, site)?;
    if node.op_type.as_deref() == Some("MaxPool") { super::nan::max_pool(node, site) } else { keep(node, site) }
}

/// `GridSample` of images.
pub(super) fn grid_sample(node: NodeProto, site: &mut Site) -> Replaced {
    kinds::check(&node, 1, FLOATS, site)?;
    super::only_text(&node, "mode", &["bilinear", "linear"])?;
    super::only_text(&node, "padding_mode", &["zeros"])?;
    match site.info(&node, 0).rank {
        Some(4) => {
            // A place that is NaN or infinite has no defined result.
            *site.loses_nan = true;
            keep(node, site)
        }
        Some(_) => Err(three_dimensions()),
        None => Err(rank_needed()),
    }
}

fn three_dimensions() -> Reason {
    Reason::unsupported("supports one and two spatial dimensions only")
}

/// The kernel's size in each spatial dimension, by the attribute or by the weights.
fn kernel(node: &NodeProto, site: &Site) -> Result<Vec<Option<i64>>, Reason> {
    if let Some(kernel) = node.ints("kernel_shape") {
        return Ok(kernel.iter().map(|&size| Some(size)).collect());
    }
    let weights = site.info(node, 1);
    let rank = weights.rank.or(site.info(node, 0).rank).ok_or_else(rank_needed)?;
    Ok((2..rank as i64).map(|axis| weights.size(axis)).collect())
}

/// The engine does not know the number of dimensions when it reads the attributes, so they are written explicitly.
fn set_defaults(node: &mut NodeProto, dimensions: usize) {
    for name in ["strides", "dilations"] {
        if node.ints(name).is_none() {
            node.set_ints(name, &vec![1; dimensions]);
        }
    }
    let auto_pad = node.text_or("auto_pad", "NOTSET");
    if auto_pad == "VALID" || node.ints("pads").is_none() && matches!(auto_pad, "NOTSET" | "") {
        node.remove("auto_pad");
        node.set_ints("pads", &vec![0; 2 * dimensions]);
    }
}

/// The engine reads SAME_LOWER as SAME_UPPER, so the padding is computed here. It depends on the size of the input only
/// if a stride is larger than 1 (ONNX operator specification, Conv: `auto_pad`).
fn set_padding(node: &mut NodeProto, kernel: &[Option<i64>], site: &Site) -> Result<(), Reason> {
    if node.text_or("auto_pad", "NOTSET").starts_with("SAME") {
        let value =
            |name: &str, index: usize| node.ints(name).and_then(|values| values.get(index).copied()).unwrap_or(1);
        let skips = |(index, size): (usize, &Option<i64>)| {
            size.is_none_or(|size| value("strides", index) > (size - 1) * value("dilations", index) + 1)
        };
        if kernel.iter().enumerate().any(skips) {
            return Err(Reason::with_fix(
                "does not support this `auto_pad` with strides larger than the kernel",
                "set `pads`",
            ));
        }
    }
    if node.text_or("auto_pad", "NOTSET") != "SAME_LOWER" {
        return Ok(());
    }
    let input = site.info(node, 0);
    let (mut begins, mut ends) = (Vec::new(), Vec::new());
    for (index, size) in kernel.iter().enumerate() {
        let value = |name: &str| node.ints(name).and_then(|values| values.get(index).copied()).unwrap_or(1);
        let (stride, dilation) = (value("strides").max(1), value("dilations").max(1));
        let Some(size) = size else { return Err(size_needed()) };
        let reach = (size - 1) * dilation + 1;
        let padding = if stride == 1 {
            reach - 1
        } else {
            let length = input.size(2 + index as i64).ok_or_else(size_needed)?;
            ((length + stride - 1) / stride - 1) * stride + reach - length
        };
        let padding = padding.max(0);
        begins.push(padding - padding / 2);
        ends.push(padding / 2);
    }
    begins.append(&mut ends);
    node.remove("auto_pad");
    node.set_ints("pads", &begins);
    Ok(())
}

fn size_needed() -> Reason {
    Reason::with_fix(
        "does not support `auto_pad = SAME_LOWER` for sizes that the file does not state",
        "export the model with `pads`, or with a fixed input size",
    )
}
