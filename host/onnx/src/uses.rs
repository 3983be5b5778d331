//! What a model does with its values: which nodes produce and take them, and which are rounded to integers later.

use std::collections::{HashMap, HashSet};

use rten_onnx::onnx::{GraphProto, NodeProto, ValueInfoProto};

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
    /// Values that are rounded to integers, directly or after other operators.
    rounded: HashSet<String>,
    /// Values that are expanded and then reshaped.
    repeated: HashSet<String>,
    /// Values that a node takes or a graph returns.
    used: HashSet<String>,
}

impl Uses {
    /// Collects the uses of a graph and its subgraphs.
    pub(crate) fn of(graph: &GraphProto) -> Uses {
        let mut uses = Uses::default();
        uses.collect(graph);
        uses.collect_rounded(graph);
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

    /// True if a value is rounded to integers, directly or after operators that keep its exact numbers.
    pub(crate) fn is_rounded(&self, value: &str) -> bool {
        self.rounded.contains(value)
    }

    /// True if a value is expanded and then reshaped.
    pub(crate) fn is_repeated(&self, value: &str) -> bool {
        self.repeated.contains(value)
    }

    /// True if a node takes a value or a graph returns it.
    pub(crate) fn is_used(&self, value: &str) -> bool {
        self.used.contains(value)
    }

    fn collect(&mut self, graph: &GraphProto) {
        let is = |node: &NodeProto, operator: &str| node.op_type.as_deref() == Some(operator);
        let reshaped: HashSet<&str> =
            graph.node.iter().filter(|node| is(node, "Reshape")).filter_map(|node| node.input(0)).collect();
        self.used.extend(graph.output.iter().filter_map(|value| value.name.clone()));
        for node in &graph.node {
            let operator = node.op_type.clone().unwrap_or_default();
            if operator == "Expand" && node.output(0).is_some_and(|output| reshaped.contains(output)) {
                self.repeated.extend(node.input(0).map(str::to_owned));
            }
            self.used.extend(node.input.iter().cloned());
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

    /// Follows the values that are rounded to integers backwards.
    fn collect_rounded(&mut self, graph: &GraphProto) {
        for node in graph.node.iter().rev() {
            let operator = node.op_type.as_deref().unwrap_or_default();
            let mut is_rounded = node.output.iter().any(|output| self.rounded.contains(output));
            for subgraph in subgraphs(node) {
                if is_rounded {
                    self.mark_outputs(subgraph);
                }
                self.collect_rounded(subgraph);
                // What a round of a loop gets is what the node got, or what the round before it returned.
                let takes =
                    |input: &ValueInfoProto| input.name.as_ref().is_some_and(|name| self.rounded.contains(name));
                if !is_rounded && subgraph.input.iter().any(takes) {
                    is_rounded = true;
                    let before = self.rounded.len();
                    self.mark_outputs(subgraph);
                    // Only if something is new: otherwise the time would double with each nested loop.
                    if self.rounded.len() > before {
                        self.collect_rounded(subgraph);
                    }
                }
            }
            if rounds(operator) || is_rounded && !loses_last_bits(operator) {
                self.rounded.extend(node.input.iter().cloned());
            }
        }
    }
}

impl Uses {
    /// Marks all outputs of a subgraph as rounded.
    fn mark_outputs(&mut self, subgraph: &GraphProto) {
        self.rounded.extend(subgraph.output.iter().filter_map(|output| output.name.clone()));
    }
}

/// The subgraphs of a node.
fn subgraphs(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().filter_map(|attribute| attribute.g.as_ref())
}

/// Operators that turn numbers into integers or decisions.
fn rounds(operator: &str) -> bool {
    matches!(
        operator,
        "ArgMax"
            | "ArgMin"
            | "BitCast"
            | "Cast"
            | "CastLike"
            | "Ceil"
            | "DynamicQuantizeLinear"
            | "Equal"
            | "Floor"
            | "Greater"
            | "GreaterOrEqual"
            | "IsInf"
            | "Less"
            | "LessOrEqual"
            | "Mod"
            | "NonZero"
            | "OneHot"
            | "QuantizeLinear"
            | "Round"
            | "Sign"
            | "TopK"
    )
}

/// Operators whose results are sums in any order or approximations, so that every implementation differs in the last
/// bits. Even exact inputs give no exact results there.
fn loses_last_bits(operator: &str) -> bool {
    matches!(
        operator,
        "Acos"
            | "Acosh"
            | "Asin"
            | "Asinh"
            | "Atan"
            | "Atanh"
            | "Attention"
            | "BatchNormalization"
            | "Conv"
            | "ConvTranspose"
            | "Cos"
            | "Cosh"
            | "Einsum"
            | "Elu"
            | "Erf"
            | "Exp"
            | "GRU"
            | "Gelu"
            | "Gemm"
            | "GridSample"
            | "InstanceNormalization"
            | "LSTM"
            | "LayerNormalization"
            | "Log"
            | "LogSoftmax"
            | "LpNormalization"
            | "MatMul"
            | "Pow"
            | "RMSNormalization"
            | "ReduceL2"
            | "ReduceLogSum"
            | "ReduceLogSumExp"
            | "RotaryEmbedding"
            | "Sigmoid"
            | "Sin"
            | "Sinh"
            | "Softmax"
            | "Softplus"
            | "Swish"
            | "Tan"
            | "Tanh"
    )
}
