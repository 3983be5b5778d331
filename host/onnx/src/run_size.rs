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
mod estimate;
mod growth;
mod live;
mod loading;
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

use rten_onnx::onnx::GraphProto;

use crate::node;
use crate::panics;
use crate::rejected::Rejected;
use crate::types::MOST_DIMENSIONS;
use crate::valid;
use crate::well_formed::parse_model;
use estimate::Estimate;
pub(crate) use loading::{LONGEST_LIST, check as check_loading};
pub(crate) use names::taken;
pub use peaks::{LARGEST_TOTAL, LARGEST_VALUE, LargestValue, RunPeaks};
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
        let most_visits = self.nodes.saturating_add(MOST_VISITS);
        let mut estimate = Estimate::new(self.opset, &self.constants, values, most_visits);
        estimate.nodes(&self.graph);
        estimate
    }
}
