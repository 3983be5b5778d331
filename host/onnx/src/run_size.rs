//! The sizes of all values of a run, from the shapes of its inputs, before the engine runs. A model with dynamic dimensions
//! can need very large values for small inputs, as attention does for a long text; an engine that cannot allocate them may
//! end the process.
//!
//! Shapes follow from the operators (ONNX operator specification). Lists of sizes that a model computes are followed too, also
//! those that follow from the integers of a request. What depends on other numbers is taken as large as it can be: all
//! elements are found, the larger branch of an `If` runs, a loop runs as often as it may. A loop is followed until its sizes
//! stay the same or grow evenly. What is not known is not counted: the outputs of operators outside the standard, and sizes
//! that a model computes from its data.

mod attention;
mod axes;
mod constants;
mod dependent;
mod einsum;
mod growth;
mod live;
mod loops;
mod names;
mod numbers;
mod operators;
mod peaks;
mod products;
mod sampled;
mod sequences;
mod sizing;
mod value;
mod windows;

use std::collections::{HashMap, HashSet};

use rten_onnx::onnx::{AttributeProto, GraphProto, NodeProto, ValueInfoProto};

use crate::node;
use crate::panics;
use crate::rejected::Rejected;
use crate::types::MOST_DIMENSIONS;
use crate::valid;
use crate::well_formed::parse_model;
pub use peaks::{LARGEST_TOTAL, LARGEST_VALUE, LargestValue, RunPeaks};
use peaks::{at, keep_larger};
use value::Value;

/// How many nodes an estimate may visit, in addition to one visit of each node. Only loops in loops that grow unevenly
/// need more.
const MOST_VISITS: usize = 50_000;

/// The graph of a model without its weights.
#[derive(Clone)]
pub struct RunSizes {
    graph: GraphProto,
    opset: i64,
    /// The constants of the main graph.
    constants: HashMap<String, Value>,
    /// The inputs whose numbers decide about sizes.
    sizing: HashSet<String>,
    /// How many nodes all graphs have.
    nodes: usize,
}

/// An input of a run.
#[derive(Debug, Clone, Copy)]
pub struct GivenInput<'a> {
    /// The name.
    pub name: &'a str,
    /// The shape.
    pub shape: &'a [u32],
    /// The elements, if they are integers and known.
    pub elements: Option<&'a [i64]>,
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
            let constants = constants::of_graph(&graph);
            let sizing = sizing::inputs(&graph);
            graph.initializer.clear();
            constants::remove_weights(&mut graph);
            let nodes = names::count_nodes(&graph);
            Some(Self { graph, opset, constants, sizing, nodes })
        };
        panics::rejected(|| Ok(read())).ok().flatten()
    }

    /// True if the numbers of an input decide about sizes, so that [`GivenInput::elements`] should be given.
    pub fn is_sizing(&self, input: &str) -> bool {
        self.sizing.contains(input)
    }

    /// The largest value that a run with these inputs computes, and all values that it needs at the same time.
    ///
    /// # Errors
    /// If the estimate panicked, which is a fault of this crate.
    pub fn peaks(&self, inputs: &[GivenInput]) -> Result<RunPeaks, Rejected> {
        panics::rejected(|| Ok(self.run(inputs).peaks))
    }

    /// The shapes of the outputs of a run with these inputs, as far as they are known.
    ///
    /// # Errors
    /// If the estimate panicked, which is a fault of this crate.
    pub fn outputs(&self, inputs: &[GivenInput]) -> Result<Vec<(String, KnownShape)>, Rejected> {
        panics::rejected(|| {
            let estimate = self.run(inputs);
            let names = self.graph.output.iter().map(|output| output.name.clone().unwrap_or_default());
            let shape = |name: &str| estimate.value(name).filter(|value| !value.is_most)?.dims.clone();
            Ok(names.map(|name| (name.clone(), shape(&name))).collect())
        })
    }

    fn run(&self, inputs: &[GivenInput]) -> Estimate<'_> {
        let known = inputs.iter().filter(|input| input.shape.len() <= MOST_DIMENSIONS);
        let value = |input: &GivenInput| {
            let dims = input.shape.iter().map(|&size| i64::from(size)).collect();
            let kept = input.elements.filter(|elements| elements.len() as u64 <= value::KEPT_ELEMENTS);
            #[expect(clippy::cast_precision_loss, reason = "larger numbers than 2^53 are no sizes")]
            let elements = kept.map(|elements| elements.iter().map(|&element| element as f64).collect());
            Value { elements, is_whole: input.elements.is_some(), ..Value::of_dims(dims) }
        };
        let values = known.map(|input| (input.name.to_owned(), value(input))).collect();
        let constants = &self.constants;
        let mut estimate = Estimate {
            opset: self.opset,
            constants,
            values,
            peaks: RunPeaks::default(),
            live: 0,
            visits: 0,
            most_visits: self.nodes.saturating_add(MOST_VISITS),
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
    most_visits: usize,
    /// What the names of the current graph stood for in the graphs around it.
    hidden: Vec<(String, Option<Value>)>,
}

impl Estimate<'_> {
    fn nodes(&mut self, graph: &GraphProto) {
        let last_uses = live::LastUses::of(graph);
        let mut computed = HashMap::new();
        for (index, node) in graph.node.iter().enumerate() {
            if self.is_exhausted() {
                return self.give_up(node);
            }
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

    /// True if the estimate took too long.
    fn is_exhausted(&self) -> bool {
        self.visits >= self.most_visits
    }

    /// True if the run is refused whatever comes later.
    fn is_too_large(&self) -> bool {
        self.peaks.exceed()
    }

    /// The sizes at a node and after it are not known, because the estimate took too long.
    fn give_up(&mut self, node: &NodeProto) {
        let (name, operator) = (node::title(node).to_owned(), node.op_type.clone().unwrap_or_default());
        self.peaks.unfollowed.get_or_insert((name, operator));
    }

    fn outputs(&mut self, node: &NodeProto) -> Vec<Value> {
        let bodies: Vec<&GraphProto> = names::bodies(node).collect();
        if !bodies.is_empty() {
            return self.bodies(node, &bodies);
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
        for (name, value) in constants::of_graph(body) {
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

    /// The branches of an `If`, or the rounds of a loop.
    fn bodies(&mut self, node: &NodeProto, bodies: &[&GraphProto]) -> Vec<Value> {
        match (node.op_type.as_deref(), bodies) {
            (Some("If"), [_, _]) => {
                let is_branch = |attribute: &&AttributeProto, name: &str| attribute.name.as_deref() == Some(name);
                let branch = |name: &str| node.attribute.iter().find(|it| is_branch(it, name))?.g.as_ref();
                let (Some(yes), Some(no)) = (branch("then_branch"), branch("else_branch")) else { return Vec::new() };
                let condition = node.input.first().and_then(|name| self.value(name)).and_then(Value::is_true);
                if let Some(is_true) = condition {
                    let (outputs, peaks) = self.body(if is_true { yes } else { no }, &[]);
                    self.peaks.keep_larger(peaks);
                    return outputs;
                }
                let ((yes, of_yes), (no, of_no)) = (self.body(yes, &[]), self.body(no, &[]));
                // Any of both runs.
                self.peaks.keep_larger(of_yes);
                self.peaks.keep_larger(of_no);
                yes.iter().zip(&no).map(|(yes, no)| yes.larger(no)).collect()
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
