//! Subgraphs, recurrent operators, and operators for training.

use rten_onnx::onnx::NodeProto;

use super::{Replaced, keep};
use crate::node::{Attributes, Edit};
use crate::rejected::Reason;
use crate::site::Site;
use crate::types::Info;

/// What is known about the outputs of `If` and `Loop`, given the outputs of their subgraphs, and what a loop starts with.
/// `states_rounds` is true if a request states how often a loop runs.
pub(crate) fn join_branches(
    node: &NodeProto,
    subgraphs: &[Vec<Info>],
    start: &[Info],
    states_rounds: bool,
) -> Vec<Info> {
    let is_loop = node.op_type.as_deref() == Some("Loop");
    // The first output of a loop's body is the condition.
    let skipped = usize::from(is_loop);
    (0..node.output.len())
        .map(|index| {
            let all: Vec<&Info> = subgraphs.iter().filter_map(|outputs| outputs.get(index + skipped)).collect();
            let Some(first) = all.first() else { return Info::unknown() };
            let bound =
                if is_loop { f64::INFINITY } else { all.iter().fold(0.0, |most: f64, info| most.max(info.bound)) };
            let rank = if is_loop {
                match start.get(index + 2) {
                    // What the last round returned, or what the loop started with.
                    Some(start) => first.rank.filter(|_| first.rank == start.rank),
                    // What all rounds returned.
                    None => first.rank.map(|rank| rank + 1),
                }
            } else {
                first.rank.filter(|_| all.iter().all(|info| info.rank == first.rank))
            };
            let may_be_nan = is_loop || all.iter().any(|info| info.may_be_nan);
            let may_be_infinite = is_loop || all.iter().any(|info| info.may_be_infinite);
            // A request can state how often a loop runs, and so how much it collects or joins.
            let starts_dependent = is_loop && start.get(index + 2).is_some_and(|start| start.is_dependent);
            let is_dependent = all.iter().any(|info| info.is_dependent) || starts_dependent || is_loop && states_rounds;
            let is_inexact_half = all.iter().any(|info| info.is_inexact_half)
                || is_loop && start.get(index + 2).is_some_and(|start| start.is_inexact_half);
            Info {
                ty: first.ty,
                rank,
                bound,
                may_be_nan,
                may_be_infinite,
                is_dependent,
                is_inexact_half,
                ..Info::unknown()
            }
        })
        .collect()
}

/// The engine has one of two variants of the reset gate.
pub(super) fn gru(node: NodeProto, site: &mut Site) -> Replaced {
    if node.int_or("linear_before_reset", 0) == 0 {
        return Err(Reason::unsupported("supports only `linear_before_reset = 1`"));
    }
    recurrent(node, site)
}

/// `LSTM`.
pub(super) fn lstm(node: NodeProto, site: &mut Site) -> Replaced {
    if node.input(7).is_some() {
        return Err(Reason::unsupported("does not support peepholes"));
    }
    super::only_int(&node, "input_forget", 0)?;
    recurrent(node, site)
}

fn recurrent(node: NodeProto, site: &mut Site) -> Replaced {
    if node.input(4).is_some() {
        return Err(Reason::unsupported("ignores `sequence_lens`"));
    }
    let standard = ["Sigmoid", "Tanh", "Tanh"];
    let gates = if node.op_type.as_deref() == Some("GRU") { 2 } else { 3 };
    let other = node.attribute("activations").is_some_and(|attribute| {
        attribute.strings.iter().enumerate().any(|(index, name)| name != standard[index % gates])
    });
    if other {
        return Err(Reason::unsupported("supports only the default `activations`"));
    }
    super::only_int(&node, "layout", 0)?;
    if node.float("clip").is_some_and(|clip| clip != 0.0) {
        return Err(Reason::unsupported("does not support `clip`"));
    }
    keep(node, site)
}

/// ONNX ignores `keepdims` if the sizes of the parts are given; onnxruntime does not.
pub(super) fn split_to_sequence(node: NodeProto, site: &mut Site) -> Replaced {
    if node.input(1).is_some() && node.int_or("keepdims", 1) == 0 {
        return Err(Reason::with_fix(
            "returns other shapes than onnxruntime for `keepdims = 0` with sizes of the parts",
            "export the model without `keepdims`",
        ));
    }
    keep(node, site)
}

/// The engine counts negative positions from another end.
pub(super) fn sequence_insert(node: NodeProto, site: &mut Site) -> Replaced {
    let position = site.info(&node, 2).constant;
    if node.input(2).is_some() && position.is_none_or(|values| values.iter().any(|&value| value < 0.0)) {
        return Err(Reason::with_fix("inserts at other positions", "use a constant position that is not negative"));
    }
    keep(node, site)
}

/// Without training, `Dropout` has no effect.
pub(super) fn dropout(mut node: NodeProto, site: &mut Site) -> Replaced {
    site.remove_unused_outputs(&mut node);
    if node.output(1).is_some() {
        return Err(Reason::unsupported("does not compute the mask"));
    }
    let training = site.info(&node, 2).constant;
    if node.input(2).is_some() && training.is_none_or(|values| values.iter().any(|&value| value != 0.0)) {
        return Err(Reason::with_fix("cannot train", "export the model for inference (`training_mode` false)"));
    }
    keep(node, site)
}
