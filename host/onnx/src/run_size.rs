//! The sizes of all values of a run, from the shapes of its inputs, before the engine runs. A model with dynamic dimensions
//! can need very large values for small inputs, as attention does for a long text; an engine that cannot allocate them may
//! end the process.
//!
//! Shapes follow from the operators (ONNX operator specification); lists of sizes that a model computes are followed too.
//! What is not known is not counted. A loop is followed until its sizes stay the same or grow evenly; if it is not known how
//! often it runs, one round is counted.

mod axes;
mod live;
mod loops;
mod numbers;
mod operators;
mod peaks;
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
pub use peaks::{LargestValue, RunPeaks};
use peaks::{at, keep_larger};
use value::Value;

/// The largest number of elements of one value in a run.
pub const LARGEST_VALUE: u64 = 1 << 28;

/// The largest number of elements of all values that a run needs at the same time.
pub const LARGEST_TOTAL: u64 = 1 << 30;

/// How many nodes an estimate may visit; loops in loops are followed less far then.
const MOST_VISITS: usize = 200_000;

/// The graph of a model without its weights.
pub struct RunSizes {
    graph: GraphProto,
    opset: i64,
    /// The constants of the main graph.
    constants: HashMap<String, Value>,
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

    /// The largest value that a run with inputs of these shapes computes, and all values that it needs at the same time.
    ///
    /// # Errors
    /// If the estimate panicked, which is a fault of this crate.
    pub fn peaks(&self, inputs: &[(&str, &[u32])]) -> Result<RunPeaks, Rejected> {
        panics::rejected(|| Ok(self.run(inputs).peaks))
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
        let mut estimate = Estimate {
            opset: self.opset,
            constants,
            values,
            peaks: RunPeaks::default(),
            live: 0,
            visits: 0,
            hidden: Vec::new(),
        };
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
    peaks: RunPeaks,
    /// The elements of the values that later nodes take.
    live: u64,
    /// The nodes that were visited.
    visits: usize,
    /// What the names of the current graph stood for in the graphs around it.
    hidden: Vec<(String, Option<Value>)>,
}

impl Estimate<'_> {
    fn nodes(&mut self, graph: &GraphProto) {
        let last_uses = live::LastUses::of(graph);
        let mut computed = HashMap::new();
        for (index, node) in graph.node.iter().enumerate() {
            self.visits += 1;
            let outputs = self.outputs(node);
            for (name, value) in node.output.iter().zip(outputs) {
                let value = value.if_valid();
                let elements = value.count().unwrap_or(0);
                self.count(node, &value);
                if !name.is_empty() {
                    self.live = self.live.saturating_add(elements);
                    computed.insert(name.as_str(), elements);
                    self.define(name, value);
                }
            }
            self.count_total(node, 0);
            for name in last_uses.after(index) {
                self.live = self.live.saturating_sub(computed.remove(name).unwrap_or(0));
            }
        }
    }

    /// True if loops must not be followed further.
    fn is_exhausted(&self) -> bool {
        self.visits > MOST_VISITS
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
        let inner = operators::inner(node, &inputs);
        let is_empty = inputs.first().is_some_and(|input| input.count() == Some(0));
        let outputs = operators::outputs(node, self.opset, &inputs);
        if is_empty && matches!(node.op_type.as_deref(), Some("BatchNormalization" | "InstanceNormalization")) {
            let (name, operator) = (node::title(node).to_owned(), node.op_type.clone().unwrap_or_default());
            self.peaks.empty.get_or_insert((name, operator));
        }
        // Some operators compute a larger value than their outputs.
        if let Some(inner) = inner {
            self.count(node, &inner);
            self.count_total(node, inner.count().unwrap_or(0));
        }
        outputs
    }

    /// The outputs of a body whose inputs are known, and its peaks. The names of the body are not known outside.
    fn body(&mut self, body: &GraphProto, inputs: &[Value]) -> (Vec<Value>, RunPeaks) {
        let (peaks, hidden, live) = (std::mem::take(&mut self.peaks), std::mem::take(&mut self.hidden), self.live);
        for (index, input) in body.input.iter().enumerate() {
            let value = inputs.get(index).cloned().unwrap_or_default();
            self.define(input.name.as_deref().unwrap_or_default(), value);
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
        self.live = live;
        let of_body = std::mem::replace(&mut self.peaks, peaks);
        (outputs, of_body)
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name).or_else(|| self.constants.get(name))
    }

    fn define(&mut self, name: &str, value: Value) {
        let before = self.values.insert(name.to_owned(), value);
        self.hidden.push((name.to_owned(), before));
    }

    /// The branches of an `If`, or the rounds of a loop. A result whose shape differs between branches is not known.
    fn bodies(&mut self, node: &NodeProto, bodies: &[&GraphProto]) -> Vec<Value> {
        match (node.op_type.as_deref(), bodies) {
            (Some("If"), [yes, no]) => {
                let ((yes, of_yes), (no, of_no)) = (self.body(yes, &[]), self.body(no, &[]));
                // Only one branch runs.
                self.peaks.keep_larger(of_yes.smaller(of_no));
                let same = |(yes, no): (&Value, &Value)| Value::of(yes.dims.clone().filter(|_| yes.dims == no.dims));
                yes.iter().zip(&no).map(same).collect()
            }
            (Some("Loop"), [body]) => self.loop_(node, body),
            (Some("Scan"), [body]) => self.scan(node, body),
            _ => {
                for body in bodies {
                    let (_, peaks) = self.body(body, &[]);
                    self.peaks.keep_larger(peaks);
                }
                Vec::new()
            }
        }
    }

    fn count(&mut self, node: &NodeProto, value: &Value) {
        if let Some(elements) = value.count() {
            keep_larger(&mut self.peaks.value, Some(at(node, elements)));
        }
    }

    /// Counts the values that are needed while a node runs, and `more` elements.
    fn count_total(&mut self, node: &NodeProto, more: u64) {
        let elements = self.live.saturating_add(more);
        if self.peaks.total.as_ref().is_none_or(|total| total.elements < elements) {
            self.peaks.total = Some(at(node, elements));
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
