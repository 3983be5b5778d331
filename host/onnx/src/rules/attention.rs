//! `Attention`.

use rten_onnx::onnx::{DataType, NodeProto};

use super::kinds::{FLOATS, kind};
use super::{Replaced, guard, nan};
use crate::node::{Attributes, Edit, cast, new, title};
use crate::rejected::Reason;
use crate::site::Site;
use crate::types::Info;

/// The inputs whose products are the scores: queries, keys, and the keys of the past.
const SCORED: [usize; 3] = [0, 1, 4];
/// The mask, and the keys of the past.
const MASK: usize = 3;
const PAST: usize = 4;

/// `Attention`. The engine takes scores that are NaN as 0, and repeats a mask that is shorter than the keys.
pub(super) fn attention(mut node: NodeProto, site: &mut Site) -> Replaced {
    site.remove_unused_outputs(&mut node);
    if node.output(3).is_some() {
        return Err(Reason::unsupported("does not compute the output `qk_matmul_output`"));
    }
    if node.int_or("is_causal", 0) != 0 && node.input(PAST).is_some() {
        return Err(Reason::unsupported("does not support `is_causal` with past keys"));
    }
    if node.input(6).is_some() {
        return Err(Reason::unsupported("does not support `nonpad_kv_seqlen`"));
    }
    let mut nodes = checks(&mut node, site)?;
    nodes.push(node);
    Ok(nodes)
}

/// Lets the node fail while it runs if scores can be NaN: if queries or keys are not finite, or a mask has NaN or infinity; also
/// if a mask is shorter than the keys.
fn checks(node: &mut NodeProto, site: &mut Site) -> Result<Vec<NodeProto>, Reason> {
    // The checks give the inputs other names, so all is decided before.
    let mask = site.info(node, MASK);
    let is_short = may_be_short(node, &mask, &site.info(node, 1))?;
    let is_added = node.input(MASK).is_some() && mask.ty.is_none_or(|ty| kind(ty) == FLOATS);
    // A request may exclude scores by a negative infinity, so then the inputs of the model are not limited.
    let is_limited = !is_added || mask.is_constant;
    *site.loses_nan |= is_limited;
    let mut nodes = if is_short { short_mask(node, site) } else { Vec::new() };
    for index in SCORED {
        let info = site.info(node, index);
        let is_finite = info.is_constant || is_limited;
        if node.input(index).is_some() && (!is_finite || info.may_be_nan || info.may_be_infinite) {
            nodes.extend(nan::moderate(node, index, site));
        }
    }
    if is_added && (!mask.is_constant || mask.may_be_nan || mask.may_be_infinite) {
        nodes.extend(nan::not_above(node, MASK, site));
    }
    Ok(nodes)
}

/// True if a mask may have fewer elements than there are keys. ONNX excludes the keys that a mask does not have; the engine
/// repeats a mask for one key, and rejects others.
fn may_be_short(node: &NodeProto, mask: &Info, keys: &Info) -> Result<bool, Reason> {
    let all = keys.size(-2).filter(|_| node.input(PAST).is_none());
    match (mask.size(-1), all) {
        _ if node.input(MASK).is_none() => Ok(false),
        (Some(1), Some(keys)) if keys > 1 => Err(Reason::with_fix(
            format!("repeats a mask of 1 for {keys} keys, and ONNX excludes the other keys"),
            "give the mask for every key",
        )),
        (Some(length), Some(keys)) => Ok(length != keys),
        (length, _) => Ok(length.is_none_or(|length| length == 1)),
    }
}

/// Lets the node fail while it runs if the mask has another size than the keys.
fn short_mask(node: &mut NodeProto, site: &mut Site) -> Vec<NodeProto> {
    let (last, place) = (site.scalar(DataType::INT64, -1.0), site.scalar(DataType::INT64, -2.0));
    let mut nodes = Vec::new();
    let mut size = |index: usize, place: &str, site: &mut Site| {
        let (shape, size) = (site.name("shape"), site.name("size"));
        nodes.push(new("Shape", &[&node.input[index]], &shape));
        nodes.push(new("Gather", &[&shape, place], &size).with_int("axis", 0));
        size
    };
    let length = size(MASK, &last, site);
    let mut keys = size(1, &place, site);
    let past = node.input(PAST).is_some().then(|| size(PAST, &place, site));
    if let Some(past) = past {
        let all = site.name("keys");
        nodes.push(new("Add", &[&keys, &past], &all));
        keys = all;
    }
    let (missing, number, checked) = (site.name("missing"), site.name("number"), site.name("checked"));
    nodes.push(new("Sub", &[&keys, &length], &missing));
    nodes.push(cast(&missing, DataType::FLOAT, &number));
    let text = format!("{}the mask is too small for the keys at node `{}`", guard::CHECK, title(node));
    nodes.extend(guard::check(&number, 0.0, text, &node.input[2], &checked, site));
    // The values are numbers, and have no other check.
    node.input[2] = checked;
    nodes
}
