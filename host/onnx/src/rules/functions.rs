//! Functions of single elements that the engine computes in a way that overflows, and the normalization of layers.

use rten_onnx::onnx::{DataType, NodeProto};

use super::{Replaced, keep};
use crate::node::{Attributes, Edit, new};
use crate::rejected::Reason;
use crate::site::Site;

/// From here on, `ln(1 + exp(x))` is x in FLOAT.
const LINEAR: f32 = 20.0;
/// From here on, the square root of x² + 1 is x in FLOAT.
const LARGE: f32 = 1e9;

/// `PRelu`. The engine repeats the slope to the shape of the value, as ONNX says, but not the value to that of the slope.
pub(super) fn prelu(node: NodeProto, site: &mut Site) -> Replaced {
    if let (Some(value), Some(slope)) = (site.info(&node, 0).sizes, site.info(&node, 1).sizes) {
        let mut pairs = slope.iter().rev().zip(value.iter().rev());
        let fits = |(slope, value): (&Option<i64>, &Option<i64>)| match (slope, value) {
            (Some(slope), Some(value)) => slope == value || *slope == 1,
            _ => true,
        };
        if slope.len() > value.len() || !pairs.all(fits) {
            let text = "repeats the slope to the shape of the value, but not the value to the shape of the slope";
            return Err(Reason::with_fix(text, "give the slope the shape of the value, or fewer or single elements"));
        }
    }
    keep(node, site)
}

/// `Softplus`. The engine's exponential overflows: `Where(x > 20, x, Softplus(x))`.
pub(super) fn softplus(mut node: NodeProto, site: &mut Site) -> Replaced {
    let (input, output) = (node.input[0].clone(), node.output[0].clone());
    let (limit, is_linear, curved) =
        (site.scalar(DataType::FLOAT, LINEAR), site.name("is_linear"), site.name("curved"));
    node.output[0].clone_from(&curved);
    Ok(vec![new("Greater", &[&input, &limit], &is_linear), node, new("Where", &[&is_linear, &input, &curved], &output)])
}

/// `Asinh` and `Acosh`. The engine's square overflows: `Where(|x| > 1e9, ±(ln|x| + ln 2), Asinh(x))`.
pub(super) fn area(mut node: NodeProto, site: &mut Site) -> Replaced {
    let (input, output) = (node.input[0].clone(), node.output[0].clone());
    let mut n = |purpose: &str| site.name(purpose);
    let (size, is_large, logarithm, sum) = (n("size"), n("is_large"), n("logarithm"), n("sum"));
    let (sign, large, curved) = (n("sign"), n("large"), n("curved"));
    let (limit, ln_2) = (site.scalar(DataType::FLOAT, LARGE), site.scalar(DataType::FLOAT, std::f32::consts::LN_2));
    // A large negative number has no inverse hyperbolic cosine.
    let compared = if node.op_type.as_deref() == Some("Acosh") { &input } else { &size };
    let greater = new("Greater", &[compared, &limit], &is_large);
    node.output[0].clone_from(&curved);
    Ok(vec![
        new("Abs", &[&input], &size),
        greater,
        new("Log", &[&size], &logarithm),
        new("Add", &[&logarithm, &ln_2], &sum),
        new("Sign", &[&input], &sign),
        new("Mul", &[&sign, &sum], &large),
        node,
        new("Where", &[&is_large, &large, &curved], &output),
    ])
}

/// `LayerNormalization`. The engine needs scale and offset in the shape of what is normalized; others are applied
/// afterwards.
pub(super) fn layer_normalization(node: NodeProto, site: &mut Site) -> Replaced {
    let mut node = super::only_first_output(node, site)?;
    let axis = node.int_or("axis", -1);
    let rank = site.info(&node, 0).rank.map(|rank| rank as i64);
    let normalized = if axis < 0 { Some(-axis) } else { rank.map(|rank| rank - axis) };
    let fits = |index: usize| {
        let info = site.info(&node, index);
        let sizes = info.sizes.clone().unwrap_or_default();
        let matches = |(offset, size): (usize, &Option<i64>)| {
            let expected = site.info(&node, 0).size(offset as i64 - sizes.len() as i64);
            size.is_none() || expected.is_none() || *size == expected || *size == Some(1)
        };
        let rank_fits = match (info.rank, normalized) {
            (Some(rank), Some(normalized)) => rank as i64 <= normalized,
            _ => true,
        };
        node.input(index).is_none() || rank_fits && sizes.iter().enumerate().all(matches)
    };
    if fits(1) && fits(2) {
        return keep(node, site);
    }
    let (output, one) = (node.output[0].clone(), site.scalar(DataType::FLOAT, 1.0));
    let (result, scaled) = (site.name("normalized"), site.name("scaled"));
    let (scale, bias) = (std::mem::replace(&mut node.input[1], one), node.input(2).map(str::to_owned));
    node.input.truncate(2);
    node.output[0].clone_from(&result);
    let mut nodes = vec![node];
    match bias {
        Some(bias) => nodes.extend([new("Mul", &[&result, &scale], &scaled), new("Add", &[&scaled, &bias], &output)]),
        None => nodes.push(new("Mul", &[&result, &scale], &output)),
    }
    Ok(nodes)
}
