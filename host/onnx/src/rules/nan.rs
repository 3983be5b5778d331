//! NaN, which some operators of the engine replace by numbers. Where a value can be NaN although the inputs of the
//! model are finite, these operators are replaced; the code that runs the engine refuses inputs that are not finite.

use rten_onnx::onnx::{DataType, NodeProto};

use super::kinds::{FLOATS, kind};
use super::{Replaced, arithmetic, keep};
use crate::node::{cast, new};
use crate::site::Site;

/// True if the engine would lose NaN at a node. Also notes that the inputs of the model must be finite.
fn loses(node: &NodeProto, site: &mut Site) -> bool {
    let input = site.info(node, 0);
    if input.ty.is_some_and(|ty| kind(ty) != FLOATS) {
        return false;
    }
    *site.loses_nan = true;
    input.may_be_nan
}

/// `Clip` and `Relu`. The engine gives the lower bound for NaN: `Where(IsNaN(x), x, Clip(x))`.
pub(super) fn clip(mut node: NodeProto, site: &mut Site) -> Replaced {
    if !loses(&node, site) {
        return arithmetic::all_inputs(node, site);
    }
    let (input, output) = (node.input[0].clone(), node.output[0].clone());
    let (is_nan, clipped) = (site.name("is_nan"), site.name("clipped"));
    node.output[0].clone_from(&clipped);
    let mut nodes = vec![new("IsNaN", &[&input], &is_nan)];
    nodes.extend(arithmetic::all_inputs(node, site)?);
    nodes.push(new("Where", &[&is_nan, &input, &clipped], &output));
    Ok(nodes)
}

/// `MaxPool`. The engine ignores NaN, or not, by its place. A second pool finds the windows that contain one.
pub(super) fn max_pool(mut node: NodeProto, site: &mut Site) -> Replaced {
    if !loses(&node, site) {
        return keep(node, site);
    }
    let (input, output) = (node.input[0].clone(), node.output[0].clone());
    let mut n = |purpose: &str| site.name(purpose);
    let (is_nan, marks, numbers) = (n("is_nan"), n("marks"), n("numbers"));
    let (marked, largest, has_nan) = (n("marked"), n("largest"), n("has_nan"));
    let (zero, nan) = (site.scalar(DataType::FLOAT, 0.0), site.scalar(DataType::FLOAT, f32::NAN));
    let mut marking = node.clone();
    marking.name = None;
    marking.input[0].clone_from(&marks);
    marking.output[0].clone_from(&marked);
    node.input[0].clone_from(&numbers);
    node.output[0].clone_from(&largest);
    Ok(vec![
        new("IsNaN", &[&input], &is_nan),
        cast(&is_nan, DataType::FLOAT, &marks),
        new("Where", &[&is_nan, &zero, &input], &numbers),
        marking,
        node,
        new("Greater", &[&marked, &zero], &has_nan),
        new("Where", &[&has_nan, &nan, &largest], &output),
    ])
}

/// `ArgMax` and `ArgMin`: NaN is the largest and the least number. Returns what comes before the node.
pub(super) fn arg(node: &mut NodeProto, site: &mut Site) -> Vec<NodeProto> {
    if !loses(node, site) {
        return Vec::new();
    }
    let infinity = if node.op_type.as_deref() == Some("ArgMax") { f32::INFINITY } else { f32::NEG_INFINITY };
    let (is_nan, infinite, ordered) =
        (site.name("is_nan"), site.scalar(DataType::FLOAT, infinity), site.name("ordered"));
    let input = std::mem::replace(&mut node.input[0], ordered.clone());
    vec![new("IsNaN", &[&input], &is_nan), new("Where", &[&is_nan, &infinite, &input], &ordered)]
}

/// `TopK`: the engine orders several NaN differently.
pub(super) fn top_k(node: NodeProto, site: &mut Site) -> Replaced {
    let _ = loses(&node, site);
    keep(node, site)
}
