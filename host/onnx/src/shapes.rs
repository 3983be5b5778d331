//! Checks the nodes of the main graph against the shapes of their values, so that a model that cannot run is rejected when it
//! is loaded, and not with each request. What is not known is not checked. Graphs of branches and loops are not checked,
//! because they need not run: exporters write branches for other numbers of dimensions.

mod axes;
mod channels;
mod choices;
mod parts;
mod products;
mod sizes;

use rten_onnx::onnx::{GraphProto, NodeProto};

use crate::infer;
use crate::node::{self, Attributes, Edit};
use crate::rejected::Rejected;
use crate::rules;
use crate::types::{Info, Values};

/// What a check says: why a node cannot run.
type Checked = Result<(), String>;

/// Checks the main graph of a model. `opset` is the version of the standard operator set.
///
/// # Errors
/// If a node cannot run; the error names the first one.
pub(crate) fn check(graph: &GraphProto, opset: i64) -> Result<(), Rejected> {
    let mut values = Values::default();
    for input in &graph.input {
        let name = input.name.as_deref().unwrap_or_default();
        values.insert(name, given(Info::declared(input)));
    }
    for constant in &graph.initializer {
        let name = constant.name.as_deref().unwrap_or_default();
        // A request can give another value of this shape.
        if values.get(name).is_none() {
            values.insert(name, Info::constant(constant));
        }
    }
    for node in &graph.node {
        let is_standard = node::is_standard(node.domain.as_deref());
        let operator = node.op_type.as_deref().unwrap_or_default();
        if is_standard {
            let node = Node { node, operator, opset, values: &values };
            node.check().map_err(|why| {
                let name = node::title(node.node);
                Rejected::model(format!(
                    "node `{name}` ({operator}, operator set {opset}) cannot run: {why}: export the model again"
                ))
            })?;
        }
        for (name, info) in node.output.iter().zip(outputs(node, operator, opset, &values, is_standard)) {
            values.insert(name, info);
        }
    }
    Ok(())
}

/// An input as it is declared. Some exporters write 0 for a size that is not known.
fn given(mut info: Info) -> Info {
    for size in info.sizes.iter_mut().flatten() {
        *size = size.filter(|&size| size > 0);
    }
    info
}

/// What is known about the outputs of a node. Types and shapes that the file states for inner values may be out of date.
fn outputs(node: &NodeProto, operator: &str, opset: i64, values: &Values, is_standard: bool) -> Vec<Info> {
    let has_graph = node.attribute.iter().any(|attribute| attribute.g.is_some());
    if !is_standard || has_graph || !rules::is_known(operator) {
        return vec![Info::unknown(); node.output.len()];
    }
    if operator == "Constant" {
        return rules::constant(node).unwrap_or_else(|_| vec![Info::unknown()]);
    }
    let mut outputs = infer::outputs(node, opset, values);
    if let Some(first) = outputs.first_mut()
        && first.sizes.is_none()
    {
        let node = Node { node, operator, opset, values };
        first.sizes = node.sizes().filter(|sizes| first.rank.is_none_or(|rank| rank == sizes.len()));
    }
    outputs
}

/// A node, and what is known about its inputs.
struct Node<'a> {
    node: &'a NodeProto,
    operator: &'a str,
    opset: i64,
    values: &'a Values,
}

impl Node<'_> {
    fn check(&self) -> Checked {
        self.check_axes()?;
        self.check_channels()?;
        self.check_choices()?;
        self.check_parts()?;
        self.check_products()
    }

    /// What is known about an input; `None` if it is absent or nothing is known.
    fn info(&self, index: usize) -> Option<&Info> {
        self.values.get(self.node.input(index)?)
    }

    fn rank(&self, index: usize) -> Option<i64> {
        self.info(index)?.rank.map(|rank| rank as i64)
    }

    /// The size of a dimension of an input; a negative number counts from the last.
    fn size(&self, index: usize, axis: i64) -> Option<i64> {
        self.info(index)?.size(axis)
    }

    /// The elements of an input that is a small constant of integers.
    fn integers(&self, index: usize) -> Option<Vec<i64>> {
        let constant = self.info(index)?.constant.as_ref()?;
        constant.iter().map(|&value| (value.fract() == 0.0).then_some(value as i64)).collect()
    }

    /// A list that an attribute states, or an input in newer operator sets.
    fn list(&self, attribute: &str, input: usize) -> Option<Vec<i64>> {
        match self.node.ints(attribute) {
            Some(list) => Some(list.to_vec()),
            None => self.integers(input),
        }
    }
}
