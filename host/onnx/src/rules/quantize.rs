//! Quantisation.

use rten_onnx::onnx::{DataType, NodeProto};

use super::arithmetic::rank_needed;
use super::division::exact_div;
use super::{Replaced, keep};
use crate::node::{Attributes, Edit, cast, new};
use crate::rejected::Reason;
use crate::site::Site;

/// The engine multiplies by the inverse of the scale, which rounds differently near ties. The definition of ONNX:
/// `saturate(round(x / scale) + zero_point)`.
pub(super) fn quantize(mut node: NodeProto, site: &mut Site) -> Replaced {
    if node.int_or("block_size", 0) != 0 {
        return Err(Reason::unsupported("does not support `block_size`"));
    }
    check_precision(&node, site)?;
    let zero_point = node.input(2).map(str::to_owned);
    let declared = node.int("output_dtype").filter(|&ty| ty != 0).and_then(|ty| i32::try_from(ty).ok()).map(DataType);
    let ty = match &zero_point {
        Some(name) => site.values.get(name).and_then(|info| info.ty),
        None => declared.or(Some(DataType::UINT8)),
    };
    let (least, most) = match ty {
        Some(DataType::UINT8) => (0.0, 255.0),
        Some(DataType::INT8) => (-128.0, 127.0),
        _ => return Err(Reason::unsupported("quantises to UINT8 and INT8 only")),
    };
    let to = ty.unwrap_or(DataType::UINT8);
    let mut nodes = super::nan::order(&mut node, site);
    let scale = along_axis(&node, 1, &mut nodes, site)?;
    let (ratio, rounded) = (site.name("ratio"), site.name("rounded"));
    nodes.extend(exact_div(new("Div", &[&node.input[0], &scale], &ratio), site));
    nodes.push(new("Round", &[&ratio], &rounded));
    let mut sum = rounded;
    if zero_point.is_some() {
        let shaped = along_axis(&node, 2, &mut nodes, site)?;
        let (number, shifted) = (site.name("zero_point"), site.name("shifted"));
        nodes.push(cast(&shaped, DataType::FLOAT, &number));
        nodes.push(new("Add", &[&sum, &number], &shifted));
        sum = shifted;
    }
    let (low, high, clipped) =
        (site.scalar(DataType::FLOAT, least), site.scalar(DataType::FLOAT, most), site.name("clipped"));
    nodes.push(new("Clip", &[&sum, &low, &high], &clipped));
    nodes.push(cast(&clipped, to, &node.output[0]));
    Ok(nodes)
}

/// The quotient must be one of FLOAT. Its type is `precision`, or else that of the scale.
fn check_precision(node: &NodeProto, site: &Site) -> Result<(), Reason> {
    let scale = site.info(node, 1).ty;
    let is_float = |precision: i64| precision == 0 || precision == i64::from(DataType::FLOAT.0);
    if !is_float(node.int_or("precision", 0)) || scale != Some(DataType::FLOAT) {
        return Err(Reason::with_fix(
            "divides in FLOAT, and the node divides in another type (`precision`, or the type of the scale)",
            "export the model with a scale of FLOAT",
        ));
    }
    Ok(())
}

/// Shapes scales or zero points of one dimension so that they broadcast along `axis`.
fn along_axis(node: &NodeProto, index: usize, nodes: &mut Vec<NodeProto>, site: &mut Site) -> Result<String, Reason> {
    let name = node.input[index].clone();
    let info = site.info(node, index);
    match info.rank {
        Some(0) => return Ok(name),
        Some(1) if info.size(0) == Some(1) => return Ok(name),
        Some(1) => {}
        Some(_) => return Err(Reason::unsupported("supports one scale per tensor or per index of one axis")),
        None => return Err(rank_needed()),
    }
    let rank = site.info(node, 0).rank.ok_or_else(rank_needed)? as i64;
    let axis = node.int_or("axis", 1);
    let axis = if axis < 0 { axis + rank } else { axis };
    let mut shape = vec![1; rank as usize];
    let Some(place) = usize::try_from(axis).ok().and_then(|axis| shape.get_mut(axis)) else {
        return Err(Reason::unsupported("needs an `axis` of the input"));
    };
    *place = -1;
    let (shape, shaped) = (site.ints(&shape), site.name("shaped"));
    nodes.push(new("Reshape", &[&name, &shape], &shaped));
    Ok(shaped)
}

/// `DequantizeLinear`.
pub(super) fn dequantize(node: NodeProto, site: &mut Site) -> Replaced {
    if node.int_or("block_size", 0) != 0 {
        return Err(Reason::unsupported("does not support `block_size`"));
    }
    keep(node, site)
}

/// The definition of ONNX (operator specification, DynamicQuantizeLinear-11, function body); see [`quantize`] for the
/// reason.
pub(super) fn dynamic_quantize(mut node: NodeProto, site: &mut Site) -> Replaced {
    let mut nodes = super::nan::finite(&mut node, site);
    let input = node.input[0].as_str();
    let output = |index: usize, site: &mut Site| match node.output(index) {
        Some(name) => name.to_owned(),
        None => site.name("unused"),
    };
    let (y, scale, zero_point) = (output(0, site), output(1, site), output(2, site));
    let (zero, most) = (site.scalar(DataType::FLOAT, 0.0), site.scalar(DataType::FLOAT, 255.0));
    let mut n = |purpose: &str| site.name(purpose);
    let (least, low, largest, high, range) = (n("min"), n("low"), n("max"), n("high"), n("range"));
    let (start, negative, clipped, point) = (n("start"), n("negative"), n("clipped"), n("point"));
    let (ratio, rounded, shifted, limited) = (n("ratio"), n("rounded"), n("shifted"), n("limited"));
    nodes.extend([
        new("ReduceMin", &[input], &least).with_int("keepdims", 0),
        new("Min", &[&least, &zero], &low),
        new("ReduceMax", &[input], &largest).with_int("keepdims", 0),
        new("Max", &[&largest, &zero], &high),
        new("Sub", &[&high, &low], &range),
    ]);
    // Of zeros only, onnxruntime takes the scale 1.
    let (is_zero, wide) = (site.name("is_zero"), site.name("wide"));
    nodes.push(new("Equal", &[&range, &zero], &is_zero));
    nodes.push(new("Where", &[&is_zero, &most, &range], &wide));
    nodes.extend(divide_scalars(&wide, &most, &scale, site));
    nodes.extend(divide_scalars(&low, &scale, &start, site));
    nodes.extend([
        new("Sub", &[&zero, &start], &negative),
        new("Clip", &[&negative, &zero, &most], &clipped),
        new("Round", &[&clipped], &point),
        cast(&point, DataType::UINT8, &zero_point),
    ]);
    nodes.extend(exact_div(new("Div", &[input, &scale], &ratio), site));
    nodes.extend([
        new("Round", &[&ratio], &rounded),
        new("Add", &[&rounded, &point], &shifted),
        new("Clip", &[&shifted, &zero, &most], &limited),
        cast(&limited, DataType::UINT8, &y),
    ]);
    Ok(nodes)
}

/// Divides two scalars. The engine divides exactly only if there is more than one element, so it divides pairs.
fn divide_scalars(dividend: &str, divisor: &str, quotient: &str, site: &mut Site) -> Vec<NodeProto> {
    let (axes, first) = (site.ints(&[0]), site.scalar(DataType::INT64, 0.0));
    let mut nodes = Vec::new();
    let mut pair = |value: &str, site: &mut Site| {
        let (one, both) = (site.name("one"), site.name("both"));
        nodes.push(new("Unsqueeze", &[value, &axes], &one));
        nodes.push(new("Concat", &[&one, &one], &both).with_int("axis", 0));
        both
    };
    let (dividends, divisors, quotients) = (pair(dividend, site), pair(divisor, site), site.name("quotients"));
    nodes.push(new("Div", &[&dividends, &divisors], &quotients));
    nodes.push(new("Gather", &[&quotients, &first], quotient).with_int("axis", 0));
    nodes
}

/// `MatMulInteger`. On processors without VNNI instructions the engine's sums of products saturate.
pub(super) fn mat_mul_integer(_: NodeProto, _: &mut Site) -> Replaced {
    Err(Reason::with_fix(
        "computes it wrongly on some processors",
        "quantise the model with `QuantizeLinear` and `DequantizeLinear` around `MatMul`",
    ))
}
