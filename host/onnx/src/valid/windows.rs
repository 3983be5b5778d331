//! Windows of convolutions and pools. ONNX requires sizes, steps and groups of at least 1 and no negative padding. Where the
//! number of dimensions is known only when the model runs, onnxruntime checks some of this late or never: a group of 0 and a
//! negative padding end the process, and other engines compute something else.

use rten_onnx::onnx::NodeProto;

use crate::node::{self, Attributes};
use crate::rejected::Rejected;

/// The most elements of a window, as of a value. Larger ones only let a run take hours.
const LARGEST_WINDOW: i64 = crate::LARGEST_VALUE as i64;

/// Checks the attributes of a node that has a window.
pub(super) fn check(node: &NodeProto) -> Result<(), Rejected> {
    let operator = node.op_type.as_deref().unwrap_or_default();
    let domain = node.domain.as_deref();
    let is_known = node::is_standard(domain) || domain.is_some_and(|domain| domain.starts_with("com.m"));
    // The padding of a `Pad` may be negative: it removes elements.
    if !is_known || operator == "Pad" {
        return Ok(());
    }
    for (attribute, least) in
        [("kernel_shape", 1), ("strides", 1), ("dilations", 1), ("group", 1), ("pads", 0), ("output_padding", 0)]
    {
        let mut numbers = node.ints(attribute).unwrap_or_default().iter().copied().chain(node.int(attribute));
        if let Some(number) = numbers.find(|&number| number < least) {
            return Err(invalid(node, &format!("`{attribute}` contains {number}, which is less than {least}")));
        }
    }
    if operator == "LpPool" && node.int("p").is_some_and(|p| p < 1) {
        return Err(invalid(node, "`p` is less than 1"));
    }
    let kernel = node.ints("kernel_shape").unwrap_or_default();
    if kernel
        .iter()
        .try_fold(1_i64, |product, &size| product.checked_mul(size))
        .is_none_or(|size| size > LARGEST_WINDOW)
    {
        return Err(invalid(node, &format!("`kernel_shape` has more than {LARGEST_WINDOW} elements")));
    }
    check_lengths(node)?;
    // Otherwise a window would contain nothing but padding.
    let pads = node.ints("pads").unwrap_or_default();
    let wide = pads.iter().zip(kernel.iter().cycle()).find(|(pad, size)| pad >= size).map(|(&pad, _)| pad);
    match wide.filter(|_| operator.ends_with("Pool")) {
        Some(pad) => Err(invalid(node, &format!("`pads` contains {pad}, which is not less than the window"))),
        None => Ok(()),
    }
}

/// All lists have one number for each dimension of the window, and `pads` has two.
fn check_lengths(node: &NodeProto) -> Result<(), Rejected> {
    let length = |attribute: &str| node.ints(attribute).map(<[i64]>::len).filter(|&length| length > 0);
    let mut known: Option<(&str, usize)> = None;
    for (attribute, each) in
        [("kernel_shape", 1), ("strides", 1), ("dilations", 1), ("pads", 2), ("output_padding", 1), ("output_shape", 1)]
    {
        let Some(length) = length(attribute) else { continue };
        let dimensions = length / each;
        match known {
            _ if length % each != 0 => {
                return Err(invalid(
                    node,
                    &format!("`{attribute}` has {length} numbers, but two for each dimension are needed"),
                ));
            }
            Some((other, expected)) if expected != dimensions => {
                return Err(invalid(
                    node,
                    &format!("`{other}` is for {expected} dimensions, but `{attribute}` for {dimensions}"),
                ));
            }
            _ => known = Some((attribute, dimensions)),
        }
    }
    Ok(())
}

fn invalid(node: &NodeProto, why: &str) -> Rejected {
    let operator = node.op_type.as_deref().unwrap_or_default();
    Rejected::model(format!("node `{}` ({operator}): {why}: export the model again", node::title(node)))
}
