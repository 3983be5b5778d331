//! Several tensors whose sizes a request states may be needed at the same time, so together they may have as many elements as all
//! values of a run.

use std::collections::HashSet;

use rten_onnx::onnx::{DataType, GraphProto};

use crate::tensor;

/// No limit is lowered below this. It is not known which of very many tensors are needed at the same time; usually it is a few.
const LEAST: u64 = 1 << 25;

/// Lowers the limits of sizes, the constants with these names, if there are so many that tensors which each fit would exceed the
/// limit of all together.
pub(crate) fn share_size_limits(graph: &mut GraphProto, limits: &HashSet<String>) {
    let count = count(graph, limits);
    if count.saturating_mul(crate::LARGEST_VALUE) > crate::LARGEST_TOTAL {
        lower(graph, limits, (crate::LARGEST_TOTAL / count).max(LEAST) as f32);
    }
}

fn count(graph: &GraphProto, limits: &HashSet<String>) -> u64 {
    let is_limit = |name: &Option<String>| name.as_ref().is_some_and(|name| limits.contains(name));
    let own = graph.initializer.iter().filter(|constant| is_limit(&constant.name)).count() as u64;
    let attributes = graph.node.iter().flat_map(|node| &node.attribute);
    own + attributes.filter_map(|attribute| attribute.g.as_ref()).map(|body| self::count(body, limits)).sum::<u64>()
}

fn lower(graph: &mut GraphProto, limits: &HashSet<String>, limit: f32) {
    for constant in &mut graph.initializer {
        if let Some(name) = constant.name.clone().filter(|name| limits.contains(name)) {
            *constant = tensor::scalar(&name, DataType::FLOAT, limit);
        }
    }
    let attributes = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
    attributes.filter_map(|attribute| attribute.g.as_mut()).for_each(|body| lower(body, limits, limit));
}
