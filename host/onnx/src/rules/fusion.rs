//! Keeps the engine from joining operators that only resemble a pattern. It joins, for example, the nodes of GELU, of a
//! layer normalization or of a scaled matrix product to one operator, treats constants that differ by up to 0.0001 like
//! those of the pattern, and does not look at all attributes and shapes. Where the joined operator would compute
//! something else, a `Reshape` that changes nothing separates the nodes.

use std::f64::consts::{FRAC_1_SQRT_2, PI, SQRT_2};

use rten_onnx::onnx::NodeProto;

use super::Replaced;
use crate::node::{Attributes, Edit, new};
use crate::rejected::Reason;
use crate::site::Site;
use crate::types::Info;

/// The engine treats constants as equal if they differ by at most this.
const TOLERANCE: f64 = 1.01e-4;
/// The factor of GELU (tanh).
const GELU: f64 = 0.044_715;
/// Scales around a matrix product that the engine multiplies with each other; the product of three must fit FLOAT.
const SCALES: std::ops::RangeInclusive<f64> = 1e-12..=1e12;

/// Separates a node from its neighbours if the engine would join them wrongly. `replaced` are the nodes of its rule.
pub(super) fn separate(node: &NodeProto, replaced: Vec<NodeProto>, site: &mut Site) -> Replaced {
    let operator = node.op_type.as_deref().unwrap_or_default();
    let nodes = match operator {
        "Add" | "Mul" | "Div" | "Pow" => binary(node, operator, replaced, site),
        "Where" => safe_softmax(node, replaced, site),
        "ReduceMean" => mean(node, replaced, site)?,
        _ => replaced,
    };
    Ok(nodes)
}

fn binary(node: &NodeProto, operator: &str, mut nodes: Vec<NodeProto>, site: &mut Site) -> Vec<NodeProto> {
    let infos = [site.info(node, 0), site.info(node, 1)];
    for (index, constant) in infos.iter().enumerate().filter(|(_, info)| info.is_constant) {
        let other = 1 - index;
        if index == 0 && operator == "Div" && resembles(constant, &[1.0]) {
            nodes = negated(node, nodes, site);
            continue;
        }
        let similar = (index == 1 || matches!(operator, "Add" | "Mul"))
            && resembles(constant, &pattern_constants(operator, site));
        let uneven = has_uneven_shape(node, operator, other, constant, &infos[other], site);
        let extreme = is_extreme_scale(operator, constant, site);
        if similar || uneven || extreme {
            separate_input(node, other, &mut nodes, site);
        }
        if extreme {
            separate_output(node, &mut nodes, site);
        }
    }
    nodes
}

/// The constants of the engine's patterns in which an operator can be.
fn pattern_constants(operator: &str, site: &Site) -> Vec<f64> {
    let (erf, tanh) = (site.uses.has(&["Erf"]), site.uses.has(&["Tanh"]));
    let when = |is_part: bool, constants: &[f64]| if is_part { constants.to_vec() } else { Vec::new() };
    match operator {
        "Add" => when(erf || tanh, &[1.0]),
        "Mul" => [when(erf, &[FRAC_1_SQRT_2, 0.5]), when(tanh, &[0.5, (2.0 / PI).sqrt(), GELU])].concat(),
        "Div" => when(erf, &[SQRT_2]),
        "Pow" => [when(site.uses.has(&["ReduceMean"]), &[2.0]), when(tanh, &[3.0])].concat(),
        _ => Vec::new(),
    }
}

/// True if the engine may mistake a constant for another one that differs from it in FLOAT.
fn resembles(info: &Info, constants: &[f64]) -> bool {
    if !may_have_one_element(info) {
        return false;
    }
    let is_similar = |value: f64| {
        constants.iter().any(|constant| {
            let difference = (value - constant).abs();
            // A few units of the last place of FLOAT come from the way an exporter computed the constant.
            difference <= TOLERANCE && difference > 5e-7 * constant.abs()
        })
    };
    !constants.is_empty() && info.constant.as_deref().is_none_or(|values| values.iter().any(|&value| is_similar(value)))
}

fn may_have_one_element(info: &Info) -> bool {
    info.sizes.as_ref().is_none_or(|sizes| sizes.iter().all(|size| size.is_none_or(|size| size == 1)))
}

/// True for a constant that the joined operator cannot take: a scale or offset of a normalization, or of a matrix product,
/// whose shape is not a single dimension of the size of the last dimension of the other operand.
fn has_uneven_shape(
    node: &NodeProto,
    operator: &str,
    other: usize,
    constant: &Info,
    partner: &Info,
    site: &Site,
) -> bool {
    let Some(name) = node.input(other) else { return false };
    // Constants lose their leading dimensions of size 1 before the engine sees them.
    let sizes: Vec<Option<i64>> =
        constant.sizes.clone().unwrap_or_default().into_iter().skip_while(|&size| size == Some(1)).collect();
    if operator == "Add" && sizes.len() <= 1 && constant.rank != Some(0) && site.uses.is_produced_by(name, &["MatMul"])
    {
        let matrix = site.uses.producer(name).and_then(|producer| site.values.get(producer.inputs.get(1)?));
        let columns =
            matrix.filter(|matrix| matrix.rank.is_some_and(|rank| rank > 1)).and_then(|matrix| matrix.size(-1));
        return columns.is_none() || constant.size(-1) != columns;
    }
    if !site.uses.has(&["ReduceMean", "Sqrt"]) {
        return false;
    }
    let is_part = match operator {
        "Mul" => site.uses.is_produced_by(name, &["Div", "Mul", "Reciprocal"]) || site.uses.has(&["Reciprocal"]),
        "Add" => site.uses.producer(name).is_some_and(|producer| {
            producer.operator == "Mul" && producer.inputs.iter().any(|input| site.uses.is_produced_by(input, &["Div"]))
        }),
        _ => false,
    };
    let last = partner.size(-1);
    let fits = match sizes.as_slice() {
        [] => true,
        [Some(size)] => last.is_none_or(|last| last == *size),
        _ => false,
    };
    is_part && !(constant.sizes.is_some() && fits)
}

/// True for a factor around a matrix product whose joined scale could leave the range of FLOAT.
fn is_extreme_scale(operator: &str, constant: &Info, site: &Site) -> bool {
    matches!(operator, "Mul" | "Div")
        && site.uses.has(&["MatMul"])
        && may_have_one_element(constant)
        && constant.constant.as_deref().is_none_or(|values| values.iter().any(|value| !SCALES.contains(&value.abs())))
}

/// `1.00005 / x` as `-(-1.00005 / x)`, which is exact.
fn negated(node: &NodeProto, mut nodes: Vec<NodeProto>, site: &mut Site) -> Vec<NodeProto> {
    let Some(position) = nodes.iter().position(|other| other.op_type == node.op_type) else { return nodes };
    let (negative, quotient) = (site.name("negative"), site.name("quotient"));
    let negate = new("Neg", &[&nodes[position].input[0]], &negative);
    let output = std::mem::replace(&mut nodes[position].output[0], quotient.clone());
    nodes[position].input[0] = negative;
    nodes.insert(position, negate);
    nodes.push(new("Neg", &[&quotient], &output));
    nodes
}

/// `Where(IsNaN(x), c, x)` as `Where(Not(IsNaN(x)), x, c)`, because the engine treats a small constant as 0.
fn safe_softmax(node: &NodeProto, mut nodes: Vec<NodeProto>, site: &mut Site) -> Vec<NodeProto> {
    let is_checked = node.input(0).is_some_and(|name| site.uses.is_produced_by(name, &["IsNaN"]));
    if !is_checked || !resembles_zero(&site.info(node, 1)) {
        return nodes;
    }
    let Some(position) = nodes.iter().position(|other| other.op_type == node.op_type) else { return nodes };
    let number = site.name("is_number");
    let select = &mut nodes[position];
    let not = new("Not", &[&select.input[0]], &number);
    select.input[0] = number;
    select.input.swap(1, 2);
    nodes.insert(position, not);
    nodes
}

fn resembles_zero(info: &Info) -> bool {
    let is_similar = |values: &[f64]| values.iter().any(|&value| value != 0.0 && value.abs() <= TOLERANCE);
    info.is_constant && may_have_one_element(info) && info.constant.as_deref().is_none_or(is_similar)
}

/// The engine ignores `keepdims = 0` in the mean of a normalization: `Squeeze(ReduceMean(x))`.
fn mean(node: &NodeProto, mut nodes: Vec<NodeProto>, site: &mut Site) -> Result<Vec<NodeProto>, Reason> {
    if node.int_or("keepdims", 1) != 0 || !site.uses.has(&["Sqrt", "Pow"]) {
        return Ok(nodes);
    }
    let axes = match (node.ints("axes"), node.input(1)) {
        (Some(&[axis]), _) => site.ints(&[axis]),
        (None, Some(axes)) if site.info(node, 1).size(0).is_none_or(|length| length == 1) => axes.to_owned(),
        // The engine joins means over one dimension only.
        _ => return Ok(nodes),
    };
    let Some(mean) = nodes.iter_mut().find(|other| other.op_type == node.op_type) else { return Ok(nodes) };
    let kept = site.name("mean");
    let output = std::mem::replace(&mut mean.output[0], kept.clone());
    mean.set_int("keepdims", 1);
    nodes.push(new("Squeeze", &[&kept, &axes], &output));
    Ok(nodes)
}

/// Puts `Reshape(x, Shape(x))` before an input of a node.
fn separate_input(node: &NodeProto, index: usize, nodes: &mut Vec<NodeProto>, site: &mut Site) {
    let Some(position) = nodes.iter().position(|other| other.op_type == node.op_type) else { return };
    let separated = site.name("separated");
    let same = reshaped(&nodes[position].input[index], &separated, site);
    nodes[position].input[index] = separated;
    nodes.splice(position..position, same);
}

/// Puts `Reshape(x, Shape(x))` after a node.
fn separate_output(node: &NodeProto, nodes: &mut Vec<NodeProto>, site: &mut Site) {
    let Some(last) = nodes.iter_mut().rev().find(|other| other.output.first() == node.output.first()) else { return };
    let (inner, output) = (site.name("inner"), last.output[0].clone());
    last.output[0].clone_from(&inner);
    nodes.extend(reshaped(&inner, &output, site));
}

fn reshaped(value: &str, output: &str, site: &mut Site) -> [NodeProto; 2] {
    let shape = site.name("shape");
    [new("Shape", &[value], &shape), new("Reshape", &[value, &shape], output)]
}
