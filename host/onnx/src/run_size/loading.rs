//! What a model needs before its first run. The engines compute at once, when they load a model, what follows from its constants
//! alone (constant folding), and rten follows lists of sizes element by element. A file of 200 bytes can make them allocate
//! terabytes, which ends the process. What a model needs for its smallest inputs, it needs in every run.
//!
//! Values whose sizes depend on numbers are not counted here, because they can be smaller.

use std::collections::{HashMap, HashSet};

use rten_onnx::onnx::{GraphProto, NodeProto, TensorProto, ValueInfoProto};

use super::MOST_VISITS;
use super::estimate::Estimate;
use super::peaks::{LARGEST_TOTAL, LARGEST_VALUE, LargestValue, RunPeaks, at};
use super::value::Value;
use super::{constants, names};
use crate::node;
use crate::rejected::Rejected;

/// The most elements of one value of a run with the smallest inputs. The kernels of the engines count elements in 31 bits.
const LARGEST_OF_RUN: u64 = 1 << 31;
/// The most elements of all values at the same time in such a run.
const LARGEST_TOTAL_OF_RUN: u64 = 1 << 33;
/// The most elements of a list of integers whose elements the engine follows; each takes 24 bytes.
pub(crate) const LONGEST_LIST: u64 = 1 << 25;
/// The most elements of all such lists.
const ALL_LISTS: u64 = 1 << 26;
/// Weights may be computed from other weights, such as those of 8 bits, in a few steps.
const STEPS: u64 = 4;

/// Checks a graph. `follows_lists` is true for an engine that follows lists of integers by their elements.
///
/// # Errors
/// If a node needs too much; the error names it.
pub(crate) fn check(graph: &GraphProto, opset: i64, follows_lists: bool) -> Result<(), Rejected> {
    let constants = constants::of_graph(graph);
    let most_visits = names::count_nodes(graph).saturating_add(MOST_VISITS);
    let mut folded = Estimate::of_constants(opset, &constants, most_visits);
    folded.nodes(graph);
    let stored = stored(graph);
    let (value, total) = (LARGEST_VALUE.max(stored), LARGEST_TOTAL.max(stored.saturating_mul(STEPS)));
    check_peaks(&folded.peaks, value, total, follows_lists, "from constants, when it is loaded")?;
    let kept = kept(graph, &constants, &folded);
    if let Some(kept) = kept.filter(|kept| kept.elements > total) {
        return Err(rejected(&kept, total, "in all values that follow from constants"));
    }
    let mut run = Estimate::of_smallest(opset, &constants, smallest(graph), most_visits);
    run.nodes(graph);
    check_peaks(&run.peaks, LARGEST_OF_RUN, LARGEST_TOTAL_OF_RUN, follows_lists, "in every run")
}

fn check_peaks(peaks: &RunPeaks, value: u64, total: u64, follows_lists: bool, when: &str) -> Result<(), Rejected> {
    let lists = if follows_lists { ALL_LISTS } else { u64::MAX };
    let parts = [(&peaks.value, value, "in one value"), (&peaks.total, total, "in all values")];
    for (peak, limit, what) in parts.into_iter().chain([(&peaks.lists, lists, "in all lists of integers so far")]) {
        if let Some(peak) = peak.as_ref().filter(|peak| peak.elements > limit) {
            return Err(rejected(peak, limit, &format!("{what} {when}")));
        }
    }
    Ok(())
}

fn rejected(largest: &LargestValue, limit: u64, what: &str) -> Rejected {
    let LargestValue { elements, node, operator } = largest;
    Rejected::model(format!(
        "node `{node}` ({operator}) needs {elements} elements {what}, and at most {limit} are supported: export the model again \
         with smaller sizes"
    ))
}

/// All values that follow from constants and that other nodes take, which the engine keeps; the node is the last of them.
fn kept(graph: &GraphProto, constants: &HashMap<String, Value>, folded: &Estimate) -> Option<LargestValue> {
    let mut computed: HashMap<&str, &NodeProto> = HashMap::new();
    let mut kept: HashSet<&str> = HashSet::new();
    for node in &graph.node {
        let is_random = node.op_type.as_deref().is_some_and(|operator| operator.starts_with("Random"));
        let is_constant = |name: &&str| constants.contains_key(*name) || computed.contains_key(*name);
        let taken = names::taken(node);
        let follows = node::is_standard(node.domain.as_deref())
            && !is_random
            && names::bodies(node).next().is_none()
            && taken.iter().all(is_constant);
        match follows {
            true => computed.extend(node.output.iter().map(|output| (output.as_str(), node))),
            false => kept.extend(taken.into_iter().filter(|name| computed.contains_key(name))),
        }
    }
    let outputs = graph.output.iter().filter_map(|output| output.name.as_deref());
    kept.extend(outputs.filter(|name| computed.contains_key(name)));
    let last = graph.node.iter().rev().find(|node| node.output.iter().any(|output| kept.contains(output.as_str())))?;
    let count = |name: &str| folded.value(name).filter(|value| !value.is_most).and_then(Value::count).unwrap_or(0);
    Some(at(last, kept.into_iter().map(count).fold(0, u64::saturating_add)))
}

/// The inputs with the sizes that the file declares, and 1 for others.
fn smallest(graph: &GraphProto) -> HashMap<String, Value> {
    let dims = |input: &ValueInfoProto| {
        let shape = input.r#type.as_ref()?.tensor_type.as_ref()?.shape.as_ref()?;
        Some(shape.dim.iter().map(|size| size.dim_value.filter(|&size| size > 0).unwrap_or(1)).collect())
    };
    graph.input.iter().map(|input| (input.name.clone().unwrap_or_default(), Value::of(dims(input)))).collect()
}

/// The elements that the file stores.
fn stored(graph: &GraphProto) -> u64 {
    let count = |constant: &TensorProto| Value::of_dims(constant.dims.clone()).count().unwrap_or(0);
    let of_node = |node: &NodeProto| {
        let tensors = node.attribute.iter().filter_map(|attribute| attribute.t.as_ref()).map(count);
        tensors.chain(names::bodies(node).map(stored)).fold(0, u64::saturating_add)
    };
    graph.initializer.iter().map(count).chain(graph.node.iter().map(of_node)).fold(0, u64::saturating_add)
}
