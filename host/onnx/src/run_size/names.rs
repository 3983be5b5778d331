//! Which names a graph takes, and how many nodes it has.

use std::collections::HashSet;

use rten_onnx::onnx::{GraphProto, NodeProto};

/// The values that a node and the graphs in it take.
pub(crate) fn taken(node: &NodeProto) -> Vec<&str> {
    let mut names: Vec<&str> = node.input.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    for body in bodies(node) {
        names.extend(body.node.iter().flat_map(taken));
        names.extend(body.output.iter().filter_map(|output| output.name.as_deref()));
    }
    names
}

/// The values that the graphs in a node define.
pub(super) fn defined(node: &NodeProto) -> HashSet<&str> {
    let mut names = HashSet::new();
    for body in bodies(node) {
        names.extend(body.input.iter().filter_map(|value| value.name.as_deref()));
        names.extend(body.initializer.iter().filter_map(|constant| constant.name.as_deref()));
        for inner in &body.node {
            names.extend(inner.output.iter().map(String::as_str));
            names.extend(defined(inner));
        }
    }
    names
}

/// True if a node of the graph takes a value.
pub(super) fn takes(graph: &GraphProto, name: &str) -> bool {
    let in_body =
        |body: &GraphProto| takes(body, name) || body.output.iter().any(|output| output.name.as_deref() == Some(name));
    graph.node.iter().any(|node| node.input.iter().any(|input| input == name) || bodies(node).any(in_body))
}

/// The graphs in the attributes of a node.
pub(super) fn bodies(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().filter_map(|attribute| attribute.g.as_ref())
}

/// The nodes of a graph and of the graphs in it.
pub(super) fn count_nodes(graph: &GraphProto) -> usize {
    let inner = |node: &NodeProto| bodies(node).map(count_nodes).sum::<usize>();
    graph.node.iter().map(|node| 1 + inner(node)).sum()
}
