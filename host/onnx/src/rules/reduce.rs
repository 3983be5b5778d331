//! Reductions over dimensions.

use rten_onnx::onnx::{DataType, NodeProto};

use super::arithmetic::type_needed;
use super::kinds::{FLOATS, kind};
use super::{Replaced, keep};
use crate::node::{Attributes, Edit, new};
use crate::rejected::Reason;
use crate::site::Site;

/// With `noop_with_empty_axes` and no axes, ONNX applies only the function of the single elements, which the engine does
/// not do for all reductions.
pub(super) fn reduce(node: NodeProto, site: &mut Site) -> Replaced {
    let is_noop = node.int_or("noop_with_empty_axes", 0) != 0;
    let axes = site.info(&node, 1);
    let is_empty = match (node.ints("axes"), node.input(1)) {
        (Some(axes), _) => Some(axes.is_empty()),
        (None, None) => Some(true),
        (None, Some(_)) => axes.size(0).map(|length| length == 0),
    };
    if !is_noop || is_empty == Some(false) {
        let loses_nan = matches!(node.op_type.as_deref(), Some("ReduceMax" | "ReduceMin" | "ReduceLogSumExp"));
        return if loses_nan { with_nan(node, site) } else { keep(node, site) };
    }
    if is_empty.is_none() {
        return Err(Reason::with_fix(
            "does not support `noop_with_empty_axes` with computed axes",
            "use constant axes",
        ));
    }
    let (input, output) = (node.input[0].as_str(), node.output[0].as_str());
    Ok(vec![match node.op_type.as_deref().unwrap_or_default() {
        "ReduceL1" | "ReduceL2" => new("Abs", &[input], output),
        "ReduceSumSquare" => new("Mul", &[input, input], output),
        "ReduceLogSum" => new("Log", &[input], output),
        _ => new("Identity", &[input], output),
    }])
}

/// The engine loses NaN among 9 elements or more, and next to infinity:
/// `Where(ReduceMax(IsNaN(x)) > 0, NaN, ReduceMax(Where(IsNaN(x), 0, x)))`.
fn with_nan(mut node: NodeProto, site: &mut Site) -> Replaced {
    match site.info(&node, 0).ty {
        None => return Err(type_needed()),
        Some(ty) if kind(ty) != FLOATS => return keep(node, site),
        Some(_) => {}
    }
    let (input, output) = (node.input[0].clone(), node.output[0].clone());
    let mut n = |purpose: &str| site.name(purpose);
    let (is_nan, numbers, reduced, marked, has_nan) =
        (n("is_nan"), n("numbers"), n("reduced"), n("marked"), n("has_nan"));
    let (zero, nan) = (site.scalar(DataType::FLOAT, 0.0), site.scalar(DataType::FLOAT, f32::NAN));
    let none = site.scalar(DataType::INT32, 0.0);
    let mut marking = node.clone();
    marking.name = None;
    marking.op_type = Some("ReduceMax".into());
    // The engine represents BOOL as INT32. Of no elements, the largest is the least integer.
    marking.input[0].clone_from(&is_nan);
    marking.output[0].clone_from(&marked);
    node.input[0].clone_from(&numbers);
    node.output[0].clone_from(&reduced);
    Ok(vec![
        new("IsNaN", &[&input], &is_nan),
        new("Where", &[&is_nan, &zero, &input], &numbers),
        marking,
        node,
        new("Greater", &[&marked, &none], &has_nan),
        new("Where", &[&has_nan, &nan, &reduced], &output),
    ])
}
