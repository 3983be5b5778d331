//! How many elements a run needs at the same time.

use std::collections::{HashMap, HashSet};

use rten_onnx::onnx::GraphProto;

use super::names::taken;

/// The values of a graph that no node after a given one takes.
pub(super) struct LastUses<'a> {
    by_node: HashMap<usize, Vec<&'a str>>,
}

impl<'a> LastUses<'a> {
    pub(super) fn of(graph: &'a GraphProto) -> Self {
        let mut last: HashMap<&str, usize> = HashMap::new();
        for (index, node) in graph.node.iter().enumerate() {
            // A value that no node takes is dropped at once.
            last.extend(node.output.iter().map(|output| (output.as_str(), index)));
            last.extend(taken(node).into_iter().map(|name| (name, index)));
        }
        let kept: HashSet<&str> = graph.output.iter().filter_map(|output| output.name.as_deref()).collect();
        let mut by_node: HashMap<usize, Vec<&str>> = HashMap::new();
        for (name, index) in last.into_iter().filter(|(name, _)| !kept.contains(name)) {
            by_node.entry(index).or_default().push(name);
        }
        Self { by_node }
    }

    /// The values that node `index` is the last to take.
    pub(super) fn after(&self, index: usize) -> &[&'a str] {
        self.by_node.get(&index).map(Vec::as_slice).unwrap_or_default()
    }
}
