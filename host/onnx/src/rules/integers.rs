//! 64-bit integers, which the engine computes as 32-bit integers: a constant that exceeds them is rejected, and a node
//! whose result can exceed them fails if it does.

use rten_onnx::onnx::{DataType, NodeProto};

use super::guard;
use super::kinds::{FLOATS, kind};
use crate::bounds::GUARDED;
use crate::infer;
use crate::node::Attributes;
use crate::rejected::Reason;
use crate::site::Site;
use crate::types::Info;

/// The largest absolute value that the engine represents.
const LARGEST: f64 = i32::MAX as f64;

/// The inputs with numbers, if the result of a node can be larger than its inputs.
fn growing_inputs(node: &NodeProto) -> Vec<usize> {
    let accumulates = matches!(node.text_or("reduction", "none"), "add" | "mul");
    match node.op_type.as_deref().unwrap_or_default() {
        "Add" | "Mul" | "Sub" | "Sum" => (0..node.input.len()).collect(),
        "Abs" | "CumSum" | "Neg" | "ReduceL1" | "ReduceProd" | "ReduceSum" | "ReduceSumSquare" => vec![0],
        "Scatter" | "ScatterElements" | "ScatterND" if accumulates => vec![0, 2],
        _ => Vec::new(),
    }
}

/// Checks a node that computes 64-bit integers.
pub(super) fn check(node: &NodeProto, site: &Site) -> Result<(), Reason> {
    let operator = node.op_type.as_deref().unwrap_or_default();
    let created = node.attribute("value").and_then(|value| value.t.as_ref()).map(Info::constant);
    let creates = operator == "ConstantOfShape" && created.is_some_and(|value| value.exceeds_32_bits);
    let takes = |index: usize| site.info(node, index).exceeds_32_bits && !may_exceed(operator, index, node);
    if creates || (0..node.input.len()).any(takes) {
        return Err(Reason::with_fix(
            "computes 64-bit integers as 32-bit integers, and a constant exceeds them",
            "use a smaller constant",
        ));
    }
    let input = site.info(node, 0);
    // The least and the largest of no elements are the limits of the type.
    if matches!(operator, "ReduceMax" | "ReduceMin") && input.ty == Some(DataType::INT64) {
        let never_empty =
            input.sizes.as_ref().is_some_and(|sizes| sizes.iter().all(|size| size.is_some_and(|size| size > 0)));
        if !never_empty && input.bound > LARGEST {
            return Err(Reason::with_fix(
                "computes 64-bit integers as 32-bit integers, and the result for no elements exceeds them",
                "use fixed sizes, FLOAT or INT32",
            ));
        }
    }
    Ok(())
}

/// Lets a node fail while it runs if its 64-bit integers need more than 32 bits, or if it converts a number that its type
/// cannot represent. `replaced` are the nodes of its rule.
pub(super) fn guard(node: &NodeProto, replaced: Vec<NodeProto>, site: &mut Site) -> Vec<NodeProto> {
    let input = site.info(node, 0);
    let to = match node.op_type.as_deref() {
        Some("Cast") => node.int("to").and_then(|ty| i32::try_from(ty).ok()).map(DataType),
        Some("CastLike") => site.info(node, 1).ty,
        _ => None,
    };
    if let Some(range) = to.and_then(range) {
        let fits = input.ty.is_none_or(|ty| kind(ty) != FLOATS) || fits(&input, range);
        if fits {
            return replaced;
        }
        site.is_guarded = true;
        return guard::conversion(node, range, replaced, site);
    }
    let numbers = growing_inputs(node);
    // Other engines saturate sums and products of INT32 over dimensions, and wrap those of two numbers as this one does.
    let is_reduction =
        matches!(node.op_type.as_deref(), Some("ReduceL1" | "ReduceProd" | "ReduceSum" | "ReduceSumSquare"));
    let is_checked = input.ty == Some(DataType::INT64) || input.ty == Some(DataType::INT32) && is_reduction;
    if !is_checked || numbers.is_empty() {
        return replaced;
    }
    let result = infer::outputs(node, site.opset, site.values);
    if result.first().is_some_and(|output| output.bound <= GUARDED) {
        return replaced;
    }
    site.is_guarded = true;
    guard::integers(node, &numbers, replaced, site)
}

/// Lets conversions of an input fail while the model runs if a number does not fit the type.
pub(super) fn converted(
    node: &NodeProto,
    index: usize,
    to: DataType,
    made: Vec<NodeProto>,
    site: &mut Site,
) -> Vec<NodeProto> {
    match range(to) {
        Some(range) if !fits(&site.info(node, index), range) => guard::conversion(node, range, made, site),
        _ => made,
    }
}

/// The numbers that an integer type represents: the middle, and the distance to the last number that is rounded to it.
fn range(ty: DataType) -> Option<(f32, f32)> {
    match ty {
        DataType::INT32 | DataType::INT64 => Some((0.0, GUARDED as f32)),
        DataType::UINT8 => Some((127.5, 128.49)),
        DataType::INT8 => Some((-0.5, 128.49)),
        _ => None,
    }
}

/// True if all numbers of a value are in a range. Also false if the value can be NaN.
fn fits(info: &Info, (center, reach): (f32, f32)) -> bool {
    let (center, reach) = (f64::from(center), f64::from(reach));
    let least = if info.never_negative { 0.0 } else { -info.bound };
    !info.may_be_nan && info.bound - center <= reach && center - least <= reach
}

/// True if the engine treats a saturated constant like the constant: the end of a slice, or a value that a later node
/// uses.
fn may_exceed(operator: &str, index: usize, node: &NodeProto) -> bool {
    match operator {
        "Slice" => index == 1 || index == 2,
        "Identity" | "Unsqueeze" | "Squeeze" | "Reshape" => index == 0,
        "Cast" => node.int("to") == Some(DataType::INT64.0.into()),
        _ => false,
    }
}
