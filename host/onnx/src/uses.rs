//! What a model does with its values: which nodes produce and take them.

use std::collections::{HashMap, HashSet};

use rten_onnx::onnx::{GraphProto, NodeProto};

use crate::node::Edit;

/// A node that computes a value.
pub(crate) struct Producer {
    /// The operator.
    pub(crate) operator: String,
    /// The names of the inputs.
    pub(crate) inputs: Vec<String>,
}

/// What a model does with its values, collected before the first node is corrected.
#[derive(Default)]
pub(crate) struct Uses {
    producers: HashMap<String, Producer>,
    operators: HashSet<String>,
    /// The operators that take a value; an empty name is the result of a graph.
    takers: HashMap<String, HashSet<String>>,
    /// Values that are expanded and then reshaped.
    repeated: HashSet<String>,
}

impl Uses {
    /// Collects the uses of a graph and its subgraphs.
    pub(crate) fn of(graph: &GraphProto) -> Uses {
        let mut uses = Uses::default();
        uses.collect(graph);
        uses
    }

    /// The node that computes a value; `None` for inputs and constants.
    pub(crate) fn producer(&self, value: &str) -> Option<&Producer> {
        self.producers.get(value)
    }

    /// True if one of these operators computes a value.
    pub(crate) fn is_produced_by(&self, value: &str, operators: &[&str]) -> bool {
        self.producer(value).is_some_and(|producer| operators.contains(&producer.operator.as_str()))
    }

    /// True if the model contains all of these operators.
    pub(crate) fn has(&self, operators: &[&str]) -> bool {
        operators.iter().all(|&operator| self.operators.contains(operator))
    }

    /// True if only these operators take a value.
    pub(crate) fn is_only_taken_by(&self, value: &str, operators: &[&str]) -> bool {
        self.takers.get(value).is_none_or(|takers| takers.iter().all(|taker| operators.contains(&taker.as_str())))
    }

    /// True if a value is expanded and then reshaped.
    pub(crate) fn is_repeated(&self, value: &str) -> bool {
        self.repeated.contains(value)
    }

    /// True if a node takes a value or a graph returns it.
    pub(crate) fn is_used(&self, value: &str) -> bool {
        self.takers.contains_key(value)
    }

    fn collect(&mut self, graph: &GraphProto) {
        let is = |node: &NodeProto, operator: &str| node.op_type.as_deref() == Some(operator);
        let reshaped: HashSet<&str> =
            graph.node.iter().filter(|node| is(node, "Reshape")).filter_map(|node| node.input(0)).collect();
        for name in graph.output.iter().filter_map(|value| value.name.as_ref()) {
            self.takers.entry(name.clone()).or_default().insert(String::new());
        }
        for node in &graph.node {
            let operator = node.op_type.clone().unwrap_or_default();
            if operator == "Expand" && node.output(0).is_some_and(|output| reshaped.contains(output)) {
                self.repeated.extend(node.input(0).map(str::to_owned));
            }
            for input in &node.input {
                self.takers.entry(input.clone()).or_default().insert(operator.clone());
            }
            for output in &node.output {
                let producer = Producer { operator: operator.clone(), inputs: node.input.clone() };
                self.producers.insert(output.clone(), producer);
            }
            self.operators.insert(operator);
            for subgraph in subgraphs(node) {
                self.collect(subgraph);
            }
        }
    }
}

/// The subgraphs of a node.
fn subgraphs(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().filter_map(|attribute| attribute.g.as_ref())
}
