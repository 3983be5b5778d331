//! NaN, which some operators of the engine replace by numbers. Where a value can be NaN although the inputs of the
//! model are finite, these operators are replaced or check their inputs; the code that runs the engine refuses inputs that are not finite.

use rten_onnx::onnx::NodeProto;

use super::kinds::{FLOATS, kind};
use super::{Replaced, arithmetic, guard, keep};
use crate::node::{Attributes, Edit, new, title};
use crate::rejected::Reason;
use crate::site::Site;

/// Products of two such numbers, and sums of them, are finite in FLOAT: see [`crate::is_moderate`].
const LARGEST_MODERATE: f32 = 1e18;

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
    let is_nan = |name: &str| node.float(name).is_some_and(f32::is_nan);
    if is_nan("min")
        || is_nan("max")
        || (1..3).any(|index| node.input(index).is_some() && site.info(&node, index).may_be_nan)
    {
        return Err(Reason::with_fix("gives NaN for a limit that is NaN or can be", "use constant limits"));
    }
    if node.op_type.as_deref() == Some("Relu")
        && let Some(ty) = site.info(&node, 0).ty
        && kind(ty) != FLOATS
    {
        // The engine has it for FLOAT only.
        let zero = site.scalar(ty, 0.0);
        return Ok(vec![new("Max", &[&node.input[0], &zero], &node.output[0])]);
    }
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

/// `MaxPool` and `GlobalMaxPool`: engines differ for NaN by its place, and for windows of negative infinity.
pub(super) fn max_pool(node: NodeProto, site: &mut Site) -> Replaced {
    let loses = loses(&node, site) || site.info(&node, 0).may_be_infinite;
    let number = |input: &str, site: &mut Site| {
        let negative = site.name("negative");
        (vec![new("Neg", &[input], &negative)], negative)
    };
    if loses { Ok(checked(node, f32::MAX, number, site)) } else { keep(node, site) }
}

/// `ArgMax`, `ArgMin` and `TopK`: engines order NaN differently. Returns what comes before the node.
pub(super) fn order(node: &mut NodeProto, site: &mut Site) -> Vec<NodeProto> {
    if !loses(node, site) {
        return Vec::new();
    }
    let mut nodes = checked(std::mem::take(node), f32::INFINITY, |input, _| (Vec::new(), input.to_owned()), site);
    *node = nodes.pop().unwrap_or_default();
    nodes
}

/// `TopK`.
pub(super) fn top_k(mut node: NodeProto, site: &mut Site) -> Replaced {
    let mut nodes = order(&mut node, site);
    nodes.push(node);
    Ok(nodes)
}

/// Lets a node fail while it runs if its first input, which can be computed, has NaN or infinities.
pub(super) fn finite(node: &mut NodeProto, site: &mut Site) -> Vec<NodeProto> {
    if !loses(node, site) && !site.info(node, 0).may_be_infinite {
        return Vec::new();
    }
    let size = |input: &str, site: &mut Site| {
        let size = site.name("size");
        (vec![new("Abs", &[input], &size)], size)
    };
    let mut nodes = checked(std::mem::take(node), f32::MAX, size, site);
    *node = nodes.pop().unwrap_or_default();
    nodes
}

/// Lets a node fail while it runs if an input has NaN, infinities or numbers whose products could be infinite. Returns
/// what comes before the node.
pub(super) fn moderate(node: &mut NodeProto, index: usize, site: &mut Site) -> Vec<NodeProto> {
    let size = |input: &str, site: &mut Site| {
        let size = site.name("size");
        (vec![new("Abs", &[input], &size)], size)
    };
    checks(node, index, LARGEST_MODERATE, size, site)
}

/// Lets a node fail while it runs if an input has NaN or infinity; negative infinity passes. Returns what comes before the
/// node.
pub(super) fn not_above(node: &mut NodeProto, index: usize, site: &mut Site) -> Vec<NodeProto> {
    checks(node, index, f32::MAX, |input, _| (Vec::new(), input.to_owned()), site)
}

/// The node after a check of its first input.
fn checked(
    mut node: NodeProto,
    largest: f32,
    number: impl Fn(&str, &mut Site) -> (Vec<NodeProto>, String),
    site: &mut Site,
) -> Vec<NodeProto> {
    let mut nodes = checks(&mut node, 0, largest, number, site);
    nodes.push(node);
    nodes
}

/// A check of an input: `number` computes what must be at most `largest`, and NaN does not pass.
fn checks(
    node: &mut NodeProto,
    index: usize,
    largest: f32,
    number: impl Fn(&str, &mut Site) -> (Vec<NodeProto>, String),
    site: &mut Site,
) -> Vec<NodeProto> {
    let input = node.input[index].clone();
    let (mut nodes, number) = number(&input, site);
    let checked = site.name("checked");
    let text = format!("{}NaN or an infinity reaches node `{}`", guard::CHECK, title(node));
    nodes.extend(guard::check(&number, largest, text, &input, &checked, site));
    node.input[index] = checked;
    nodes
}
