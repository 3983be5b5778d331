//! A walk through the graph of a model, which notes the largest values and what is needed at the same time.

use std::collections::{HashMap, HashSet};

use rten_onnx::onnx::{AttributeProto, GraphProto, NodeProto, ValueInfoProto};

use super::peaks::{LARGEST_OF_RUN, LARGEST_TOTAL, LARGEST_TOTAL_OF_RUN, LARGEST_VALUE, RunPeaks, at, keep_larger};
use super::value::Value;
use super::{constants, live, names, operators};
use crate::node;

/// What a walk counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    /// Everything that a run may compute.
    Possible,
    /// What an engine can compute when it loads the model: what follows from constants, in all graphs, whichever of them run.
    Constants,
    /// What every run computes.
    Certain,
}

/// Operators whose inputs state the sizes of what they compute.
const SIZED: [&str; 9] =
    ["ConstantOfShape", "Expand", "OneHot", "Pad", "Range", "Resize", "Tile", "Upsample", "CenterCropPad"];
/// Operators whose lists rten follows element by element when it loads a model.
const LISTED: [&str; 14] = [
    "Add",
    "Cast",
    "Concat",
    "ConstantOfShape",
    "Div",
    "Equal",
    "Gather",
    "Identity",
    "Mul",
    "Neg",
    "Slice",
    "Sub",
    "Unsqueeze",
    "Where",
];

/// A walk through a graph.
pub(super) struct Estimate<'a> {
    pub(super) opset: i64,
    /// The constants of the main graph.
    constants: &'a HashMap<String, Value>,
    values: HashMap<String, Value>,
    pub(super) peaks: RunPeaks,
    /// The elements of the values that later nodes take.
    live: u64,
    /// The elements of all lists of integers.
    lists: u64,
    /// The nodes that were visited.
    visits: usize,
    most_visits: usize,
    pub(super) counts: Counts,
    /// The values that follow from constants, if only those are counted.
    computed: HashSet<String>,
    /// What the names of the current graph stood for in the graphs around it.
    hidden: Vec<(String, Option<Value>)>,
}

impl<'a> Estimate<'a> {
    /// A walk that begins with the inputs `values`.
    pub(super) fn new(
        opset: i64,
        constants: &'a HashMap<String, Value>,
        values: HashMap<String, Value>,
        most_visits: usize,
    ) -> Self {
        Self {
            opset,
            constants,
            values,
            peaks: RunPeaks::default(),
            live: 0,
            lists: 0,
            visits: 0,
            most_visits,
            counts: Counts::Possible,
            computed: HashSet::new(),
            hidden: Vec::new(),
        }
    }

    /// The same walk, which counts something else.
    pub(super) fn counting(self, counts: Counts) -> Self {
        Self { counts, ..self }
    }
}

impl Estimate<'_> {
    pub(super) fn nodes(&mut self, graph: &GraphProto) {
        let last_uses = live::LastUses::of(graph);
        let mut computed = HashMap::new();
        for (index, node) in graph.node.iter().enumerate() {
            if self.is_exhausted() {
                return self.give_up(node);
            }
            self.visits += 1;
            if self.counts == Counts::Constants && !self.follows(node) {
                for body in names::bodies(node) {
                    let (_, peaks) = self.body(body, &[]);
                    self.peaks.keep_larger(peaks);
                }
                continue;
            }
            let outputs = self.outputs(node);
            if self.counts == Counts::Constants {
                let is_sized = node.op_type.as_deref().is_some_and(|operator| SIZED.contains(&operator));
                if is_sized && outputs.first().is_none_or(|output| output.clone().if_valid().count().is_none()) {
                    self.give_up(node);
                }
                self.computed.extend(node.output.iter().cloned());
            }
            for (name, value) in node.output.iter().zip(outputs) {
                let value = value.if_valid();
                let elements = self.counted(&value).unwrap_or(0);
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

    /// True if an engine can compute the node when it loads the model.
    fn follows(&self, node: &NodeProto) -> bool {
        let is_random = node.op_type.as_deref().is_some_and(|operator| operator.starts_with("Random"));
        let inner = names::defined(node);
        let is_constant =
            |name: &str| self.is_computed(name) || self.constants.contains_key(name) || inner.contains(name);
        node::is_standard(node.domain.as_deref()) && !is_random && names::taken(node).into_iter().all(is_constant)
    }

    /// True if the value is no constant of the main graph, but follows from constants.
    pub(super) fn is_computed(&self, name: &str) -> bool {
        self.computed.contains(name)
    }

    /// True if the estimate took too long.
    pub(super) fn is_exhausted(&self) -> bool {
        self.visits >= self.most_visits
    }

    /// True if the run is refused whatever comes later.
    pub(super) fn is_too_large(&self) -> bool {
        match self.counts {
            Counts::Certain => self.peaks.exceed(LARGEST_OF_RUN, LARGEST_TOTAL_OF_RUN),
            _ => self.peaks.exceed(LARGEST_VALUE, LARGEST_TOTAL),
        }
    }

    /// The sizes at a node and after it are not known, because the estimate took too long.
    pub(super) fn give_up(&mut self, node: &NodeProto) {
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
        let is_undefined = match node.op_type.as_deref().unwrap_or_default() {
            "BatchNormalization" | "InstanceNormalization" => true,
            // The mean and the largest of no elements: 0, NaN or negative infinity, depending on the engine.
            "ReduceMean" | "GlobalAveragePool" | "GlobalMaxPool" => {
                outputs.first().is_some_and(|it| it.count() != Some(0))
            }
            _ => false,
        };
        if is_empty && is_undefined {
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
    pub(super) fn body(&mut self, body: &GraphProto, inputs: &[Value]) -> (Vec<Value>, RunPeaks) {
        let (peaks, hidden) = (std::mem::take(&mut self.peaks), std::mem::take(&mut self.hidden));
        let (live, lists) = (self.live, self.lists);
        for (index, input) in body.input.iter().enumerate() {
            let value = inputs.get(index).cloned().unwrap_or_default();
            self.define(input.name.as_deref().unwrap_or_default(), value);
        }
        for (name, value) in constants::of_graph(body) {
            self.define(&name, value);
            self.computed.insert(name);
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
        (self.live, self.lists) = (live, lists);
        let of_body = std::mem::replace(&mut self.peaks, peaks);
        (outputs, of_body)
    }

    pub(super) fn value(&self, name: &str) -> Option<&Value> {
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
                if let Some(is_true) = condition.filter(|_| self.counts != Counts::Constants) {
                    let (outputs, peaks) = self.body(if is_true { yes } else { no }, &[]);
                    self.peaks.keep_larger(peaks);
                    return outputs;
                }
                let ((yes, of_yes), (no, of_no)) = (self.body(yes, &[]), self.body(no, &[]));
                // Any of both runs.
                if self.counts != Counts::Certain {
                    self.peaks.keep_larger(of_yes);
                    self.peaks.keep_larger(of_no);
                }
                yes.iter().zip(&no).map(|(yes, no)| yes.larger(no)).collect()
            }
            // rten would run it when it loads the model, as often as it says. A `Scan` ends with its constants.
            (Some("Loop"), _) if self.counts == Counts::Constants => {
                self.give_up(node);
                Vec::new()
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
        if let Some(elements) = self.counted(value) {
            keep_larger(&mut self.peaks.value, Some(at(node, elements)));
            let is_listed = node.op_type.as_deref().is_some_and(|operator| LISTED.contains(&operator));
            if self.counts == Counts::Constants && is_listed && value.rank() == Some(1) {
                self.lists = self.lists.saturating_add(elements);
                keep_larger(&mut self.peaks.lists, Some(at(node, self.lists)));
            }
        }
    }

    fn counted(&self, value: &Value) -> Option<u64> {
        value.count().filter(|_| self.counts != Counts::Certain || !value.is_most)
    }

    /// Counts the values that are needed while a node runs, and `more` elements.
    fn count_total(&mut self, node: &NodeProto, more: u64) {
        let elements = self.live.saturating_add(more);
        if self.peaks.total.as_ref().is_none_or(|total| total.elements < elements) {
            self.peaks.total = Some(at(node, elements));
        }
    }
}
