//! The sizes of all values of a run, from the shapes of its inputs, before the engine runs. A model with dynamic dimensions
//! can need very large values for small inputs, as attention does for a long text; an engine that cannot allocate them may
//! end the process.
//!
//! Shapes follow from the operators (ONNX operator specification); lists of sizes that a model computes are followed too.
//! What is not known is not counted. Loops are taken to run once.

mod axes;
mod numbers;
mod operators;
mod products;
mod value;
mod windows;

use std::collections::HashMap;

use rten_onnx::onnx::{AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto};

use crate::node;
use crate::panics;
use crate::rejected::Rejected;
use crate::tensor;
use crate::types::MOST_DIMENSIONS;
use crate::valid;
use crate::well_formed::parse_model;
use value::Value;

/// The largest number of elements of one value in a run.
pub const LARGEST_VALUE: u64 = 1 << 28;

/// The graph of a model without its weights.
pub struct RunSizes {
    graph: GraphProto,
    opset: i64,
    /// The constants of the main graph.
    constants: HashMap<String, Value>,
}

/// The largest value of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LargestValue {
    /// The number of elements.
    pub elements: u64,
    /// The node that computes it: its name, or the name of its first output.
    pub node: String,
    /// The operator of the node.
    pub operator: String,
}

/// Sizes of dimensions of a value, if they are known.
pub type KnownShape = Option<Vec<i64>>;

impl RunSizes {
    /// Reads the graph of a model; `None` if the bytes are not a valid ONNX model.
    pub fn of_model(bytes: &[u8]) -> Option<Self> {
        let read = || {
            let model = parse_model(bytes)?;
            let opset = node::opset_or_first(&model);
            let mut graph = model.graph?;
            valid::check(&graph, opset).ok()?;
            let constants = constants(&graph);
            graph.initializer.clear();
            remove_weights(&mut graph);
            Some(Self { graph, opset, constants })
        };
        panics::rejected(|| Ok(read())).ok().flatten()
    }

    /// The largest value that a run with inputs of these shapes computes; `None` without nodes whose sizes are known.
    ///
    /// # Errors
    /// If the estimate panicked, which is a fault of this crate.
    pub fn largest(&self, inputs: &[(&str, &[u32])]) -> Result<Option<LargestValue>, Rejected> {
        panics::rejected(|| Ok(self.run(inputs).largest))
    }

    /// The shapes of the outputs of a run with inputs of these shapes, as far as they are known.
    ///
    /// # Errors
    /// If the estimate panicked, which is a fault of this crate.
    pub fn outputs(&self, inputs: &[(&str, &[u32])]) -> Result<Vec<(String, KnownShape)>, Rejected> {
        panics::rejected(|| {
            let estimate = self.run(inputs);
            let names = self.graph.output.iter().map(|output| output.name.clone().unwrap_or_default());
            Ok(names.map(|name| (name.clone(), estimate.value(&name).and_then(|it| it.dims.clone()))).collect())
        })
    }

    fn run(&self, inputs: &[(&str, &[u32])]) -> Estimate<'_> {
        let known = inputs.iter().filter(|(_, shape)| shape.len() <= MOST_DIMENSIONS);
        let value = |shape: &[u32]| Value::of_dims(shape.iter().map(|&size| i64::from(size)).collect());
        let values = known.map(|(name, shape)| ((*name).to_owned(), value(shape))).collect();
        let constants = &self.constants;
        let mut estimate = Estimate { opset: self.opset, constants, values, largest: None, hidden: Vec::new() };
        estimate.nodes(&self.graph);
        estimate
    }
}

/// A walk through a graph.
struct Estimate<'a> {
    opset: i64,
    /// The constants of the main graph.
    constants: &'a HashMap<String, Value>,
    values: HashMap<String, Value>,
    largest: Option<LargestValue>,
    /// What the names of the current graph stood for in the graphs around it.
    hidden: Vec<(String, Option<Value>)>,
}

impl Estimate<'_> {
    fn nodes(&mut self, graph: &GraphProto) {
        for node in &graph.node {
            let outputs = self.outputs(node);
            for (name, value) in node.output.iter().zip(outputs) {
                let value = value.if_valid();
                self.count(node, &value);
                if !name.is_empty() {
                    self.define(name, value);
                }
            }
        }
    }

    fn outputs(&mut self, node: &NodeProto) -> Vec<Value> {
        let bodies = || node.attribute.iter().filter_map(|attribute| attribute.g.as_ref());
        if bodies().next().is_some() {
            return self.bodies(node, &bodies().collect::<Vec<_>>());
        }
        if !node::is_standard(node.domain.as_deref()) {
            return Vec::new();
        }
        let unknown = Value::default();
        let inputs: Vec<&Value> = node.input.iter().map(|name| self.value(name).unwrap_or(&unknown)).collect();
        let outputs = operators::outputs(node, self.opset, &inputs);
        // Some operators compute a larger value than their outputs.
        if let Some(inner) = operators::inner(node, &inputs) {
            self.count(node, &inner);
        }
        outputs
    }

    /// The outputs of a body, and its largest value. The names of the body are not known outside.
    fn body(&mut self, body: &GraphProto) -> (Vec<Value>, Option<LargestValue>) {
        let (largest, hidden) = (self.largest.take(), std::mem::take(&mut self.hidden));
        for input in &body.input {
            self.define(input.name.as_deref().unwrap_or_default(), Value::default());
        }
        for (name, value) in constants(body) {
            self.define(&name, value);
        }
        self.nodes(body);
        let of = |output: &ValueInfoProto| self.value(output.name.as_deref().unwrap_or_default()).cloned();
        let outputs = body.output.iter().map(|output| of(output).unwrap_or_default()).collect();
        for (name, value) in std::mem::replace(&mut self.hidden, hidden).into_iter().rev() {
            match value {
                Some(value) => self.values.insert(name, value),
                None => self.values.remove(&name),
            };
        }
        (outputs, std::mem::replace(&mut self.largest, largest))
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name).or_else(|| self.constants.get(name))
    }

    fn define(&mut self, name: &str, value: Value) {
        let before = self.values.insert(name.to_owned(), value);
        self.hidden.push((name.to_owned(), before));
    }

    /// The branches of an `If` and one round of a loop. A result whose shape differs between branches, or changes in a loop,
    /// is not known.
    fn bodies(&mut self, node: &NodeProto, bodies: &[&GraphProto]) -> Vec<Value> {
        let is_choice = node.op_type.as_deref() == Some("If");
        let results: Vec<_> = bodies.iter().map(|body| self.body(body)).collect();
        // Only one branch of a choice runs.
        let largest = results.iter().map(|(_, largest)| largest.clone());
        let elements = |largest: &Option<LargestValue>| largest.as_ref().map(|largest| largest.elements);
        self.keep_larger(if is_choice { largest.min_by_key(elements) } else { largest.max_by_key(elements) }.flatten());
        match results.as_slice() {
            [(yes, _), (no, _)] if is_choice => yes
                .iter()
                .zip(no)
                .map(|(yes, no)| {
                    if yes.dims == no.dims {
                        Value { dims: yes.dims.clone(), elements: None }
                    } else {
                        Value::default()
                    }
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    fn count(&mut self, node: &NodeProto, value: &Value) {
        let Some(elements) = value.count() else { return };
        let name = node::title(node);
        if self.largest.as_ref().is_none_or(|largest| largest.elements < elements) {
            let operator = node.op_type.clone().unwrap_or_default();
            self.largest = Some(LargestValue { elements, node: name.to_owned(), operator });
        }
    }

    fn keep_larger(&mut self, other: Option<LargestValue>) {
        let elements = |largest: &Option<LargestValue>| largest.as_ref().map(|largest| largest.elements);
        if elements(&other) > elements(&self.largest) {
            self.largest = other;
        }
    }
}

fn constants(graph: &GraphProto) -> HashMap<String, Value> {
    let named = |constant: &TensorProto| (constant.name.clone().unwrap_or_default(), of_constant(constant));
    graph.initializer.iter().map(named).collect()
}

/// A constant of the file. The elements of small ones are kept, because they can be sizes.
fn of_constant(constant: &TensorProto) -> Value {
    let mut value = Value::of_dims(constant.dims.clone());
    if value.count().is_some_and(|count| count <= value::KEPT_ELEMENTS) {
        #[expect(clippy::cast_precision_loss, reason = "larger numbers than 2^53 are no sizes")]
        let whole = tensor::integers(constant).map(|numbers| numbers.iter().map(|&it| it as f64).collect());
        value.elements = whole.or_else(|| tensor::floats(constant));
    }
    value
}

/// Removes large constants, so that what is kept for each model is small.
fn remove_weights(graph: &mut GraphProto) {
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        if let Some(constant) = &mut attribute.t
            && of_constant(constant).elements.is_none()
        {
            *constant = TensorProto { dims: std::mem::take(&mut constant.dims), ..TensorProto::default() };
        }
        if let Some(body) = &mut attribute.g {
            for constant in &mut body.initializer {
                if of_constant(constant).elements.is_none() {
                    let (name, dims) = (constant.name.take(), std::mem::take(&mut constant.dims));
                    *constant = TensorProto { name, dims, ..TensorProto::default() };
                }
            }
            remove_weights(body);
        }
    }
}

/// The tensor of a `Constant` node.
fn of_attribute(attribute: &AttributeProto) -> Option<Value> {
    attribute.t.as_ref().map(of_constant)
}
