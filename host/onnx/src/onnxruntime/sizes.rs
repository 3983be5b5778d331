//! Keeps nodes from getting a size of 0 that a request gives, where onnxruntime would end the process (`STFT` divides by the
//! length of a frame, `LSTM` and `GRU` share their work out among no rows) or never end (`Conv` with a window without
//! elements). The run fails instead: a size is divided by 1 if it is valid, and by 0 otherwise, which onnxruntime reports
//! as an error.

use std::collections::HashSet;

use rten_onnx::onnx::{DataType, NodeProto};

use super::FAILING_CHECK;
use super::analysis::SizeCheck;
use super::division::{append, new_names};
use super::edits::field;
use crate::node::{self, Attributes};
use crate::wire;

/// True for operators that end the process if their first input has no elements. Found by running every operator with
/// sizes of 0 (`host/docs/fidelity.md`). `ConvTranspose` writes and reads outside of its buffers.
pub(super) fn needs_elements(node: &NodeProto) -> bool {
    match node.op_type.as_deref().unwrap_or_default() {
        "ConvTranspose" | "DynamicQuantizeLSTM" | "GRU" | "LSTM" | "QAttention" => true,
        "Unique" => node.attribute("axis").is_some(),
        _ => false,
    }
}

/// Writes nodes before a node, as fields of a number. Returns the new inputs.
pub(super) fn guard(
    node: &[u8],
    sized: SizeCheck,
    names: &mut HashSet<String>,
    number: u32,
    out: &mut Vec<u8>,
) -> Option<Vec<String>> {
    let members = wire::fields(node)?;
    let texts = |number: u32| {
        let texts = members.iter().filter(move |member| member.number == number);
        texts.filter_map(|member| Some(String::from_utf8_lossy(member.value?).into_owned()))
    };
    let mut inputs: Vec<String> = texts(field::NODE_INPUT).collect();
    let title = texts(field::NODE_NAME).find(|name| !name.is_empty()).or_else(|| texts(field::NODE_OUTPUT).next());
    let operator = texts(field::NODE_OPERATOR).next().unwrap_or_default();
    let of_node = format!("{FAILING_CHECK}node `{}` ({operator})", title.unwrap_or_default());
    let mut checks = Checks { nodes: Vec::new(), name: &mut new_names(names) };
    match sized {
        SizeCheck::Weights => {
            let weights = inputs.get_mut(1)?;
            *weights = checks.filled(weights, &format!("{of_node} got weights without elements"));
        }
        SizeCheck::Filled => {
            let input = inputs.first_mut()?;
            let reason = format!("{of_node} got an input without elements; send inputs with at least one element");
            *input = checks.filled(input, &reason);
        }
        SizeCheck::Frames => {
            let step = inputs.get(1)?.clone();
            let mut checked =
                checks.positive(&step, &step, &format!("{of_node} got a frame_step that is not positive"));
            if let Some(window) = inputs.get(2).filter(|name| !name.is_empty()) {
                let elements = checks.add("Size", &[window], "elements");
                let elements = checks.add("CastLike", &[&elements, &step], "elements");
                checked = checks.positive(&checked, &elements, &format!("{of_node} got a window without elements"));
            }
            if let Some(length) = inputs.get(3).filter(|name| !name.is_empty()) {
                checked =
                    checks.positive(&checked, length, &format!("{of_node} got a frame_length that is not positive"));
            }
            inputs[1] = checked;
        }
    }
    append(checks.nodes, number, out)?;
    Some(inputs)
}

struct Checks<'a> {
    nodes: Vec<NodeProto>,
    name: &'a mut dyn FnMut(&str) -> String,
}

impl Checks<'_> {
    fn add(&mut self, operator: &str, inputs: &[&str], purpose: &str) -> String {
        let output = (self.name)(purpose);
        self.nodes.push(node::new(operator, inputs, &output));
        output
    }

    fn cast(&mut self, input: &str, to: DataType) -> String {
        let output = (self.name)("cast");
        self.nodes.push(node::cast(input, to, &output));
        output
    }

    /// A division whose name says why it fails.
    fn failing(&mut self, value: &str, divisor: &str, reason: &str) -> String {
        let output = (self.name)("checked");
        let check = node::new("Div", &[value, divisor], &output);
        self.nodes.push(NodeProto { name: Some(reason.to_owned()), ..check });
        output
    }

    /// The value if a scalar of the same integer type is positive.
    fn positive(&mut self, value: &str, scalar: &str, reason: &str) -> String {
        let zero = self.add("Sub", &[scalar, scalar], "zero");
        let is_positive = self.add("Greater", &[scalar, &zero], "is_positive");
        let divisor = self.add("CastLike", &[&is_positive, value], "divisor");
        self.failing(value, &divisor, reason)
    }

    /// The value if it has elements. Operators of all operator sets from 7 on.
    fn filled(&mut self, value: &str, reason: &str) -> String {
        let elements = self.add("Size", &[value], "elements");
        let is_filled = self.cast(&elements, DataType::BOOL);
        let divisor = self.cast(&is_filled, DataType::INT64);
        let shape = self.add("Shape", &[value], "shape");
        let shape = self.failing(&shape, &divisor, reason);
        self.add("Reshape", &[value, &shape], "filled")
    }
}
