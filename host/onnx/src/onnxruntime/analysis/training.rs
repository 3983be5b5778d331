//! `BatchNormalization` in training mode, which writes its running statistics over the given ones.

use rten_onnx::onnx::{GraphProto, NodeProto};

use super::Analysis;
use crate::node::{self, Attributes, Edit};
use crate::onnxruntime::functions;

/// The inputs and outputs of the mean and the variance.
const STATISTICS: [(usize, usize); 2] = [(3, 1), (4, 2)];
/// The operator set from which on an attribute states the training mode, not the number of outputs.
const STATES_MODE: i64 = 14;

impl Analysis {
    /// Finds a training whose statistics something else reads too. onnxruntime 1.32 writes an output of the statistics that is
    /// not an output of the main graph into the memory of the input. If anything reads the output, or reads the input too,
    /// each run changes what the next one computes. In functions, branches and loops, it is not known who reads them: a
    /// function is called with values of the graph around it, and a loop runs the same node again. With its optimisations,
    /// onnxruntime computes a training in a function wrongly.
    pub(super) fn check_training(&mut self, node: &NodeProto, graph: &GraphProto) {
        let is_normalization = node.op_type.as_deref() == Some("BatchNormalization");
        if !is_normalization || !node::is_standard(node.domain.as_deref()) || !trains(node, self.opset) {
            return;
        }
        let title = node::title(node);
        if self.nested > 0 || self.depth > 0 {
            self.problem.get_or_insert(format!(
                "node `{title}` (BatchNormalization in training mode) is in a function, a branch or a loop, where onnxruntime \
                 overwrites its statistics in each run: export the model for inference"
            ));
            return;
        }
        let is_output = |name: &str| graph.output.iter().any(|value| value.name.as_deref() == Some(name));
        let shared = STATISTICS.into_iter().find_map(|(input, output)| match node.output(output) {
            Some(name) if is_output(name) => None,
            Some(name) if uses(graph, name) > 0 => Some(name),
            _ => node.input(input).filter(|name| !is_own(name, graph)),
        });
        if let Some(name) = shared {
            self.problem.get_or_insert(format!(
                "node `{title}` (BatchNormalization in training mode): onnxruntime overwrites its statistics `{name}` in each \
                 run, which other nodes or the caller use too: export the model for inference"
            ));
        }
    }
}

/// True if a `BatchNormalization` trains, or may train because the call of a function decides.
fn trains(node: &NodeProto, opset: i64) -> bool {
    let mode = node.attribute("training_mode");
    mode.is_some_and(|mode| functions::is_reference(mode) || mode.i.unwrap_or_default() != 0)
        || opset < STATES_MODE && node.output.len() > 1
}

/// True for a constant that one input reads.
fn is_own(name: &str, graph: &GraphProto) -> bool {
    let is_input = graph.input.iter().any(|input| input.name.as_deref() == Some(name));
    let is_constant = graph.initializer.iter().any(|constant| constant.name.as_deref() == Some(name))
        || graph.node.iter().any(|other| other.op_type.as_deref() == Some("Constant") && other.output(0) == Some(name));
    is_constant && !is_input && uses(graph, name) == 1
}

/// How many inputs and outputs read a value, also in inner graphs.
fn uses(graph: &GraphProto, name: &str) -> usize {
    let inputs = graph.node.iter().flat_map(|node| &node.input).filter(|input| *input == name).count();
    let outputs = graph.output.iter().filter(|output| output.name.as_deref() == Some(name)).count();
    let attributes = graph.node.iter().flat_map(|node| &node.attribute);
    let inner: usize = attributes.filter_map(|attribute| attribute.g.as_ref()).map(|inner| uses(inner, name)).sum();
    inputs + outputs + inner
}
