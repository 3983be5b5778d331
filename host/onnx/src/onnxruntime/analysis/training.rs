//! `BatchNormalization` in training mode, which writes its running statistics over the given ones.

use rten_onnx::onnx::{GraphProto, NodeProto};

use super::Analysis;
use crate::node::{self, Attributes, Edit};

/// The inputs and outputs of the mean and the variance.
const STATISTICS: [(usize, usize); 2] = [(3, 1), (4, 2)];
/// The operator set from which on an attribute states the training mode, not the number of outputs.
const STATES_MODE: i64 = 14;

impl Analysis {
    /// Finds a training whose statistics something else reads too. onnxruntime 1.32 writes an output of the statistics that is
    /// not an output of the graph into the memory of the input. If a constant is used elsewhere, each run changes what the next
    /// one computes.
    pub(super) fn check_training(&mut self, node: &NodeProto, graph: &GraphProto) {
        let is_normalization = node.op_type.as_deref() == Some("BatchNormalization");
        if !is_normalization || !node::is_standard(node.domain.as_deref()) {
            return;
        }
        let trains = node.int_or("training_mode", 0) == 1 || self.opset < STATES_MODE && node.output.len() > 1;
        let is_kept = |output: usize| {
            let name = node.output(output);
            name.is_some() && graph.output.iter().any(|value| value.name.as_deref() == name)
        };
        let is_own = |name: &str| {
            let is_constant = graph.initializer.iter().any(|constant| constant.name.as_deref() == Some(name))
                || graph
                    .node
                    .iter()
                    .any(|other| other.op_type.as_deref() == Some("Constant") && other.output(0) == Some(name));
            is_constant && uses(graph, name) == 1
        };
        let shared = STATISTICS.into_iter().filter(|&(_, output)| !is_kept(output));
        let shared = shared.filter_map(|(input, _)| node.input(input)).find(|name| !is_own(name));
        if let Some(name) = shared.filter(|_| trains) {
            let title = node::title(node);
            self.problem.get_or_insert(format!(
                "node `{title}` (BatchNormalization in training mode): onnxruntime overwrites its statistics `{name}` in each \
                 run, which other nodes or the caller use too: export the model for inference"
            ));
        }
    }
}

/// How many inputs and outputs read a value, also in inner graphs.
fn uses(graph: &GraphProto, name: &str) -> usize {
    let inputs = graph.node.iter().flat_map(|node| &node.input).filter(|input| *input == name).count();
    let outputs = graph.output.iter().filter(|output| output.name.as_deref() == Some(name)).count();
    let attributes = graph.node.iter().flat_map(|node| &node.attribute);
    let inner: usize = attributes.filter_map(|attribute| attribute.g.as_ref()).map(|inner| uses(inner, name)).sum();
    inputs + outputs + inner
}
