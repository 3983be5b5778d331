//! What a model needs before its first run. The engines compute at once, when they load a model, what follows from its constants
//! alone (constant folding), and rten follows lists of sizes element by element. A file of 200 bytes can make them allocate
//! terabytes, which ends the process. What a model needs for its smallest inputs, it needs in every run.
//!
//! For inputs, values whose sizes depend on numbers are not counted here, because they can be smaller.

use std::collections::{HashMap, HashSet};

use rten_onnx::onnx::{GraphProto, NodeProto, TensorProto, ValueInfoProto};

use super::MOST_VISITS;
use super::estimate::{Counts, Estimate};
use super::peaks::{LARGEST_OF_RUN, LARGEST_TOTAL, LARGEST_TOTAL_OF_RUN, LARGEST_VALUE, LargestValue, RunPeaks, at};
use super::value::Value;
use super::{constants, names};
use crate::rejected::{Reason, Rejected};

/// The most elements of a list of integers whose elements the engine follows; each takes 24 bytes.
pub(crate) const LONGEST_LIST: u64 = 1 << 25;
/// The most elements of all such lists.
const ALL_LISTS: u64 = 1 << 26;
/// Weights may be computed from those that the file stores: an integer of 32 bits may hold 32 of them.
const PACKED: u64 = 32;

/// Checks a graph. `follows_lists` is true for an engine that follows lists of integers by their elements.
///
/// # Errors
/// If a node needs too much; the error names it.
pub(crate) fn check(graph: &GraphProto, opset: i64, follows_lists: bool) -> Result<(), Rejected> {
    let constants = constants::of_graph(graph);
    let most_visits = names::count_nodes(graph).saturating_add(MOST_VISITS);
    let walk = |values| Estimate::new(opset, &constants, values, most_visits);
    let mut folded = walk(HashMap::new()).counting(Counts::Constants);
    folded.nodes(graph);
    if let Some((node, operator)) = folded.peaks.unfollowed.take().filter(|_| follows_lists) {
        let reason = Reason::with_fix(
            "computes it when it loads the model, because it follows from constants, and how much that is cannot be said before",
            "export the model with its constants computed",
        );
        return Err(Rejected::node(&node, &operator, opset, &reason));
    }
    let stored = stored(graph).saturating_mul(PACKED);
    let (value, total) = (LARGEST_VALUE.max(stored), LARGEST_TOTAL.max(stored));
    check_peaks(&folded.peaks, value, total, "from constants, when it is loaded", opset)?;
    if let Some(lists) = folded.peaks.lists.as_ref().filter(|lists| follows_lists && lists.elements > ALL_LISTS) {
        return Err(rejected(lists, ALL_LISTS, "in all lists that follow from constants so far", opset));
    }
    if let Some(kept) = kept(graph, &folded).filter(|kept| kept.elements > total) {
        return Err(rejected(&kept, total, "in all values that follow from constants", opset));
    }
    let mut run = walk(smallest(graph)).counting(Counts::Certain);
    run.nodes(graph);
    check_peaks(&run.peaks, LARGEST_OF_RUN, LARGEST_TOTAL_OF_RUN, "in every run", opset)
}

fn check_peaks(peaks: &RunPeaks, value: u64, total: u64, when: &str, opset: i64) -> Result<(), Rejected> {
    for (peak, limit, what) in [(&peaks.value, value, "in one value"), (&peaks.total, total, "in all values")] {
        if let Some(peak) = peak.as_ref().filter(|peak| peak.elements > limit) {
            return Err(rejected(peak, limit, &format!("{what} {when}"), opset));
        }
    }
    Ok(())
}

fn rejected(largest: &LargestValue, limit: u64, what: &str, opset: i64) -> Rejected {
    let LargestValue { elements, node, operator } = largest;
    Rejected::model(format!(
        "node `{node}` ({operator}, operator set {opset}) needs {elements} elements {what}, and at most {limit} are supported: export the model again \
         with smaller sizes"
    ))
}

/// All values that follow from constants and that other nodes take, which the engine keeps; the node is the last of them.
fn kept(graph: &GraphProto, folded: &Estimate) -> Option<LargestValue> {
    let is_computed = |name: &&str| folded.is_computed(name);
    let others = graph.node.iter().filter(|node| !node.output.iter().any(|output| folded.is_computed(output)));
    let mut kept: HashSet<&str> = others.flat_map(names::taken).filter(is_computed).collect();
    kept.extend(graph.output.iter().filter_map(|output| output.name.as_deref()).filter(is_computed));
    let last = graph.node.iter().rev().find(|node| node.output.iter().any(|output| kept.contains(output.as_str())))?;
    let count = |name: &str| folded.value(name).and_then(Value::count).unwrap_or(0);
    Some(at(last, kept.into_iter().map(count).fold(0, u64::saturating_add)))
}

/// The inputs with the sizes that the file declares, and 1 for others.
fn smallest(graph: &GraphProto) -> HashMap<String, Value> {
    let dims = |input: &ValueInfoProto| {
        let shape = input.r#type.as_ref()?.tensor_type.as_ref()?.shape.as_ref()?;
        Some(shape.dim.iter().map(|size| size.dim_value.filter(|&size| size > 0).unwrap_or(1)).collect())
    };
    // Old files list their constants as inputs, too.
    let is_constant = |name: &str| graph.initializer.iter().any(|constant| constant.name.as_deref() == Some(name));
    let named = graph.input.iter().map(|input| (input.name.clone().unwrap_or_default(), Value::of(dims(input))));
    named.filter(|(name, _)| !is_constant(name)).collect()
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
