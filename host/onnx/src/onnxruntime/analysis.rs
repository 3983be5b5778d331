//! What decides how onnxruntime may run a model: the divisions of integers, and the nodes that round data.

mod buffers;
mod calls;
mod constants;
mod data;
mod ranks;
mod training;

use std::collections::{HashMap, HashSet};

use rten_onnx::onnx::{DataType, GraphProto, NodeProto};

use super::functions::{self, Function};
use super::openvino;
use super::sizes;
use crate::infer;
use crate::node::{self, Edit};
use crate::run_size::LARGEST_VALUE;
use crate::types::{Info, Values};

/// What the analysis found in a graph. Nodes are counted in the order of the file.
#[derive(Default)]
pub(crate) struct Found {
    /// The divisions of signed integers by numbers that are not constant.
    pub(crate) divisions: HashMap<usize, Division>,
    /// The nodes that would end the process, or never end, if a size is 0.
    pub(crate) sized: HashMap<usize, SizeCheck>,
    /// The graphs in the attributes of nodes, by node and attribute.
    pub(crate) subgraphs: HashMap<(usize, usize), Found>,
    /// The types of the outputs.
    outputs: Vec<Option<DataType>>,
}

impl Found {
    /// Adds what another call of a function found. The types of two calls may differ.
    fn join(&mut self, other: &Found) {
        self.divisions.extend(other.divisions.iter().map(|(&at, &division)| (at, Division { ty: None, ..division })));
        self.sized.extend(&other.sized);
        for (&at, inner) in &other.subgraphs {
            self.subgraphs.entry(at).or_default().join(inner);
        }
    }
}

/// A division of integers whose operands can be the least number and −1.
#[derive(Clone, Copy)]
pub(crate) struct Division {
    /// INT32 or INT64; `None` if the type is not known.
    pub(crate) ty: Option<DataType>,
    /// True for `Div`, false for `Mod`.
    pub(crate) is_quotient: bool,
}

/// A node with an input that may not be 0 or empty.
#[derive(Clone, Copy)]
pub(crate) enum SizeCheck {
    /// A convolution with weights that are not constant: with a window without elements, it does not end.
    Weights,
    /// A Fourier transform of frames, whose length and step are divisors.
    Frames,
    /// An operator that would end the process if its first input has no elements.
    Filled,
}

/// Walks through a model.
#[derive(Default)]
pub(crate) struct Analysis {
    opset: i64,
    /// Values that depend on the elements of inputs, not only on their sizes.
    data: HashSet<String>,
    /// The inputs of the model.
    inputs: HashSet<String>,
    /// Means over axes that are not kept, see [`Analysis::squeezes_means`].
    means: HashSet<String>,
    /// True if numbers are rounded to integers or compared, so that the smallest difference can change the answer.
    pub(crate) rounds_data: bool,
    /// True if a mean that was computed with `keepdims = 0` is subtracted from a tensor, or divides it. onnxruntime
    /// mistakes this for a normalisation, which has `keepdims = 1`.
    pub(crate) squeezes_means: bool,
    /// True if a constant or an input can give a result more dimensions than the computed number has.
    pub(crate) adds_dimensions: bool,
    /// True if a product of integers has a vector among its operands, or may have one.
    pub(crate) multiplies_integer_vectors: bool,
    /// True if a scale or an offset may be shorter than the dimension that a normalisation normalises.
    pub(crate) has_short_scales: bool,
    /// True if a request can make a run longer without larger inputs.
    pub(crate) time_depends_on_values: bool,
    /// What OpenVINO computes differently.
    pub(super) openvino: openvino::Search,
    /// The names of all values, which new names must differ from.
    pub(crate) names: HashSet<String>,
    /// The functions of the model.
    pub(super) functions: Vec<Function>,
    /// Values whose types the file and the operators state differently.
    contradicted: HashSet<String>,
    /// How many calls of functions the analysis is in, and how many nodes of called functions it has seen.
    depth: usize,
    work: usize,
    /// How many graphs are around the current one.
    nested: usize,
    /// True in the graphs of an operator that generates word after word.
    is_generating: bool,
    /// Why the model cannot be made safe.
    pub(super) problem: Option<String>,
}

/// The operator set from which on `Equal` compares numbers of all types.
const COMPARES_ALL: i64 = 11;
/// The operator set from which on operators of two values broadcast by themselves.
const BROADCASTS: i64 = 7;

impl Analysis {
    /// An analysis for a version of the standard operator set.
    pub(super) fn new(opset: i64, functions: Vec<Function>) -> Self {
        Analysis { opset, functions, ..Analysis::default() }
    }

    /// Analyses a graph. `outer` are the values of the graphs around it.
    pub(crate) fn graph(&mut self, graph: &GraphProto, outer: &Values) -> Found {
        let mut found = Found::default();
        let mut values = outer.clone();
        for constant in &graph.initializer {
            let name = constant.name.as_deref().unwrap_or_default();
            self.names.insert(name.to_owned());
            values.insert(name, constants::info(constant));
        }
        for input in &graph.input {
            let name = input.name.as_deref().unwrap_or_default();
            self.names.insert(name.to_owned());
            // A body gets its inputs from its operator, also where the file has a constant of the same name.
            if self.nested > 0 || graph.initializer.iter().all(|constant| constant.name.as_deref() != Some(name)) {
                values.insert(name, Info { sizes: None, ..Info::declared(input) });
                if self.nested == 0 {
                    self.inputs.insert(name.to_owned());
                }
                self.data.insert(name.to_owned());
            }
        }
        let declared: HashMap<&str, Option<DataType>> = graph
            .value_info
            .iter()
            .chain(&graph.output)
            .filter_map(|value| Some((value.name.as_deref()?, Info::declared(value).ty)))
            .collect();
        for (index, node) in graph.node.iter().enumerate() {
            self.names.extend(node.input.iter().chain(&node.output).cloned());
            let mut inner = Vec::new();
            for (at, attribute) in node.attribute.iter().enumerate() {
                if let Some(subgraph) = &attribute.g {
                    let is_generating = self.is_generating;
                    self.is_generating |= buffers::generates(node);
                    self.nested += 1;
                    let subgraph = self.graph(subgraph, &values);
                    self.nested -= 1;
                    self.is_generating = is_generating;
                    inner.push(subgraph.outputs.clone());
                    found.subgraphs.insert((index, at), subgraph);
                }
            }
            self.follow_data(node, &values);
            self.follow_ranks(node, &values);
            self.check_training(node, graph);
            self.check_shared_state(node);
            if let Some(division) = self.division(node, &values, &declared) {
                if division.ty.is_none() && self.opset < COMPARES_ALL {
                    let (name, opset) = (node::title(node), self.opset);
                    self.problem.get_or_insert(format!(
                        "node `{name}` (Div, operator set {opset}): onnxruntime ends the process if it divides the least \
                         integer by -1, and the file does not state the type: run `onnx.shape_inference.infer_shapes` on \
                         the model"
                    ));
                }
                found.divisions.insert(index, division);
            }
            if let Some(sized) = self.sized(node, &values) {
                found.sized.insert(index, sized);
            }
            let are_filled = !node.input.is_empty()
                && node.input.iter().all(|name| name.is_empty() || values.get(name).is_some_and(|info| info.is_filled));
            let is_filled = are_filled && constants::keeps_elements(node);
            for (output, mut info) in node.output.iter().zip(self.outputs(node, &values, &inner)) {
                let stated = declared.get(output.as_str()).copied().flatten();
                // It is not known which of the two is right, so nothing that follows from them is known either.
                let is_contradicted = info.ty.is_some() && stated.is_some() && info.ty != stated;
                if is_contradicted || node.input.iter().any(|input| self.contradicted.contains(input)) {
                    self.contradicted.insert(output.clone());
                    info.constant = None;
                }
                info.is_filled |= is_filled;
                info.ty = stated.or(info.ty);
                values.insert(output, info);
            }
        }
        let ty = |name: &Option<String>| values.get(name.as_deref()?).and_then(|info| info.ty);
        found.outputs = graph.output.iter().map(|output| ty(&output.name).or(Info::declared(output).ty)).collect();
        found
    }

    /// What is known about the outputs of a node.
    fn outputs(&mut self, node: &NodeProto, values: &Values, inner: &[Vec<Option<DataType>>]) -> Vec<Info> {
        let operator = node.op_type.as_deref().unwrap_or_default();
        let of = |ty: Option<DataType>| Info::of_type(ty, None);
        let has_references = node.attribute.iter().any(functions::is_reference);
        if !node::is_standard(node.domain.as_deref()) {
            let types = self.call(node, values).filter(|_| !has_references).unwrap_or_default();
            return (0..node.output.len()).map(|index| of(types.get(index).copied().flatten())).collect();
        }
        // The call of the function decides about the attribute, so even the type is not known.
        if has_references {
            return vec![Info::unknown(); node.output.len()];
        }
        match operator {
            "Constant" => vec![constants::of_node(node)],
            "If" => {
                (0..node.output.len()).map(|index| of(inner.iter().find_map(|branch| *branch.get(index)?))).collect()
            }
            // The first output of a body is its condition.
            "Loop" => {
                (1..=node.output.len()).map(|index| of(inner.first().and_then(|body| *body.get(index)?))).collect()
            }
            "Scan" => {
                (0..node.output.len()).map(|index| of(inner.first().and_then(|body| *body.get(index)?))).collect()
            }
            "HannWindow" | "HammingWindow" | "BlackmanWindow" | "MelWeightMatrix" => vec![of(None); node.output.len()],
            _ => {
                if let Err(why) = infer::check_growth(node, self.opset, values, LARGEST_VALUE) {
                    let (name, opset) = (node::title(node), self.opset);
                    let problem =
                        format!("node `{name}` ({operator}, operator set {opset}): {why}: export the model again");
                    self.problem.get_or_insert(problem);
                }
                infer::outputs(node, self.opset, values)
            }
        }
    }

    /// The node as one that may not get a size of 0.
    fn sized(&mut self, node: &NodeProto, values: &Values) -> Option<SizeCheck> {
        let operator = node.op_type.as_deref().unwrap_or_default();
        match operator {
            "Conv" | "FusedConv" | "NhwcFusedConv" => {
                let weights = node.input(1)?;
                if values.get(weights).is_some_and(|info| info.is_filled) {
                    return None;
                }
                if self.opset < BROADCASTS {
                    let (name, opset) = (node::title(node), self.opset);
                    self.problem.get_or_insert(format!(
                        "node `{name}` ({operator}, operator set {opset}): onnxruntime never ends a convolution with a \
                         window without elements, and the weights are not constant: export the model with operator set 7 \
                         or newer"
                    ));
                }
                Some(SizeCheck::Weights)
            }
            "STFT" if node::is_standard(node.domain.as_deref()) => Some(SizeCheck::Frames),
            _ if sizes::needs_elements(node) => {
                node.input(0)?;
                if self.opset < BROADCASTS {
                    let (name, opset) = (node::title(node), self.opset);
                    self.problem.get_or_insert(format!(
                        "node `{name}` ({operator}, operator set {opset}): onnxruntime ends the process for an input \
                         without elements: export the model with operator set 7 or newer"
                    ));
                }
                Some(SizeCheck::Filled)
            }
            _ => None,
        }
    }

    /// The node as a division that can overflow.
    fn division(
        &self,
        node: &NodeProto,
        values: &Values,
        declared: &HashMap<&str, Option<DataType>>,
    ) -> Option<Division> {
        let operator = node.op_type.as_deref().unwrap_or_default();
        if !node::is_standard(node.domain.as_deref()) || !matches!(operator, "Div" | "Mod") {
            return None;
        }
        let info = |index: usize| node.input(index).and_then(|name| values.get(name));
        let of_output = || node.output(0).and_then(|name| declared.get(name).copied().flatten());
        let ty = info(0).and_then(|info| info.ty).or_else(|| info(1).and_then(|info| info.ty)).or_else(of_output);
        let divides_by = info(1).and_then(|info| info.constant.as_ref());
        let is_safe = divides_by.is_some_and(|values| values.iter().all(|&value| value != -1.0));
        let is_quotient = operator == "Div";
        let operands = node.input.iter().chain(&node.output);
        let ty = ty.filter(|_| !operands.into_iter().any(|name| self.contradicted.contains(name)));
        // onnxruntime computes remainders safely, so one of an unknown type is not changed: numbers with a fraction
        // would need another rule.
        let can_overflow = match ty {
            Some(ty) => matches!(ty, DataType::INT32 | DataType::INT64),
            None => is_quotient,
        };
        (can_overflow && !is_safe).then_some(Division { ty, is_quotient })
    }
}
