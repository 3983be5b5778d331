//! Divisions by a zero whose sign the engine may compute differently: the result would be the other infinity.

use rten_onnx::onnx::{DataType, NodeProto};

use super::guard;
use super::kinds::{FLOATS, kind};
use crate::node::{Edit, cast, new, title};
use crate::site::Site;
use crate::types::Info;
use crate::zeros::Zeros;

/// Lets a node fail while it runs if it divides by such a zero. `replaced` are the nodes of its rule.
pub(super) fn guard(node: &NodeProto, mut replaced: Vec<NodeProto>, site: &mut Site) -> Vec<NodeProto> {
    let Some(index) = divisor(node, site) else { return replaced };
    let ty = (0..node.input.len()).find_map(|index| site.info(node, index).ty);
    let info = site.info(node, index);
    // A constant divisor is kept as it is.
    if info.is_constant && info.constant.is_some()
        || info.zeros < Zeros::Unknown
        || ty.is_none_or(|ty| kind(ty) != FLOATS)
    {
        return replaced;
    }
    let divisor = node.input[index].clone();
    let (zero, is_zero) = (site.scalar(DataType::FLOAT, 0.0), site.name("is_zero"));
    let (number, checked) = (site.name("number"), site.name("divisor"));
    let mut nodes = vec![new("Equal", &[&divisor, &zero], &is_zero), cast(&is_zero, DataType::FLOAT, &number)];
    let text = format!("{}node `{}`", guard::ZERO, title(node));
    nodes.extend(guard::check(&number, 0.0, text, &divisor, &checked, site));
    for name in replaced.iter_mut().flat_map(|node| &mut node.input).filter(|name| **name == divisor) {
        name.clone_from(&checked);
    }
    nodes.append(&mut replaced);
    nodes
}

/// The input that a node divides by.
fn divisor(node: &NodeProto, site: &Site) -> Option<usize> {
    let never_negative = |info: Info| info.constant.is_some_and(|values| values.iter().all(|&value| value >= 0.0));
    match node.op_type.as_deref()? {
        "Div" => Some(1),
        "Reciprocal" => Some(0),
        "Pow" if !never_negative(site.info(node, 1)) => Some(0),
        _ => None,
    }
}
