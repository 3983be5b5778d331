//! What decides how onnxruntime may run a model: the divisions of integers, and the nodes that round data.

mod data;

use std::collections::{HashMap, HashSet};

use rten_onnx::onnx::{DataType, GraphProto, NodeProto, TensorProto};

use super::functions::{self, Function};
use crate::infer;
use crate::node::{self, Attributes, Edit};
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
}

/// Walks through a model.
#[derive(Default)]
pub(crate) struct Analysis {
    opset: i64,
    /// Values that depend on the elements of inputs, not only on their sizes.
    data: HashSet<String>,
    /// Means over axes that are not kept, see [`Analysis::squeezes_means`].
    means: HashSet<String>,
    /// True if numbers are rounded to integers or compared, so that the smallest difference can change the answer.
    pub(crate) rounds_data: bool,
    /// True if a number is centred or scaled with a mean over axes that are not kept. onnxruntime mistakes it for a
    /// normalisation, which keeps them.
    pub(crate) squeezes_means: bool,
    /// True if a request can make a run longer without larger inputs.
    pub(crate) time_depends_on_values: bool,
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
    /// Why the model cannot be made safe.
    pub(super) problem: Option<String>,
}

/// Functions may not call themselves (ONNX, "Functions"); no model needs deeper calls.
const MOST_DEPTH: usize = 32;
/// The nodes of functions, counted again for each call.
const MOST_WORK: usize = 300_000;
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
            values.insert(name, constant_info(constant));
        }
        for input in &graph.input {
            let name = input.name.as_deref().unwrap_or_default();
            self.names.insert(name.to_owned());
            // A body gets its inputs from its operator, also where the file has a constant of the same name.
            if self.nested > 0 || graph.initializer.iter().all(|constant| constant.name.as_deref() != Some(name)) {
                values.insert(name, Info { sizes: None, ..Info::declared(input) });
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
                    self.nested += 1;
                    let subgraph = self.graph(subgraph, &values);
                    self.nested -= 1;
                    inner.push(subgraph.outputs.clone());
                    found.subgraphs.insert((index, at), subgraph);
                }
            }
            self.follow_data(node, &values);
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
            let is_filled = are_filled && keeps_elements(node);
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
            "Constant" => vec![constant_node(node)],
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
            _ => infer::outputs(node, self.opset, values),
        }
    }

    /// Analyses the bodies of a function for a call. Returns the types of the outputs; `None` for another operator. The
    /// parser does not read which overload a node calls, so it may be any of them.
    fn call(&mut self, node: &NodeProto, values: &Values) -> Option<Vec<Option<DataType>>> {
        let is_called = |function: &Function| {
            Some(function.domain.as_str()) == node.domain.as_deref()
                && Some(function.name.as_str()) == node.op_type.as_deref()
        };
        let overloads: Vec<usize> = (0..self.functions.len()).filter(|&at| is_called(&self.functions[at])).collect();
        let mut types: Option<Vec<Option<DataType>>> = None;
        for index in overloads {
            let of_body = self.call_one(index, node, values)?;
            types = Some(match types {
                None => of_body,
                Some(types) => types.iter().zip(&of_body).map(|(&one, &other)| one.filter(|_| one == other)).collect(),
            });
        }
        types
    }

    /// Analyses the functions that no node calls, as far as this analysis sees.
    pub(super) fn uncalled(&mut self) {
        for index in 0..self.functions.len() {
            if !self.functions[index].is_called {
                let node = node::new(&self.functions[index].name, &[], &self.functions[index].name);
                self.call_one(index, &node, &Values::default());
            }
        }
    }

    fn call_one(&mut self, index: usize, node: &NodeProto, values: &Values) -> Option<Vec<Option<DataType>>> {
        self.functions[index].is_called = true;
        self.work = self.work.saturating_add(work(&self.functions[index].body));
        if self.depth >= MOST_DEPTH || self.work > MOST_WORK {
            let name = node::title(node);
            self.problem.get_or_insert(format!(
                "node `{name}` calls a function, and the functions of the model call each other too deeply or too often \
                 (at most {MOST_DEPTH} calls deep and {MOST_WORK} nodes in all calls): export the model without functions"
            ));
            return None;
        }
        let function = &mut self.functions[index];
        let (mut body, opset) = (std::mem::take(&mut function.body), function.opset);
        let mut given = Values::default();
        for (formal, actual) in body.input.iter().zip(&node.input) {
            let info = values.get(actual).cloned().unwrap_or_else(Info::unknown);
            given.insert(formal.name.as_deref().unwrap_or_default(), info);
        }
        // The inputs are removed from the body, so that their declarations do not replace what is known about them. All
        // of them depend on the request.
        let inputs = std::mem::take(&mut body.input);
        self.data.extend(inputs.iter().filter_map(|input| input.name.clone()));
        let outer = std::mem::replace(&mut self.opset, opset);
        self.depth += 1;
        let found = self.graph(&body, &given);
        self.depth -= 1;
        self.opset = outer;
        body.input = inputs;
        let function = &mut self.functions[index];
        function.body = body;
        function.found.join(&found);
        Some(found.outputs)
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

/// True for operators whose outputs have elements if all inputs have some.
fn keeps_elements(node: &NodeProto) -> bool {
    const KEEPING: [&str; 14] = [
        "Add",
        "Cast",
        "Clip",
        "DequantizeLinear",
        "Div",
        "Identity",
        "Mul",
        "QuantizeLinear",
        "Reshape",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Transpose",
        "Unsqueeze",
    ];
    let is_known = node::is_standard(node.domain.as_deref()) || node.domain.as_deref() == Some("com.microsoft");
    is_known && node.op_type.as_deref().is_some_and(|operator| KEEPING.contains(&operator))
}

/// The work of one walk through the body of a function: its nodes, and for each graph in them the values around it.
fn work(body: &GraphProto) -> usize {
    let inner = |node: &NodeProto| -> usize {
        let graphs = node.attribute.iter().filter_map(|attribute| attribute.g.as_ref());
        graphs.map(|graph| body.node.len() + work(graph)).sum()
    };
    1 + body.node.iter().map(|node| 1 + inner(node)).sum::<usize>()
}

/// What is known about a constant. The elements matter for integers only.
fn constant_info(tensor: &TensorProto) -> Info {
    let is_filled = !tensor.dims.contains(&0);
    match tensor.data_type {
        Some(DataType::INT32 | DataType::INT64) => Info { is_filled, ..Info::constant(tensor) },
        ty => Info { is_filled, ..Info::of_type(ty, None) },
    }
}

fn constant_node(node: &NodeProto) -> Info {
    let ints = |values: &[i64]| Info {
        constant: Some(values.iter().map(|&value| value as f64).collect()),
        ..Info::of_type(Some(DataType::INT64), None)
    };
    if let Some(tensor) = node.attribute("value").and_then(|value| value.t.as_ref()) {
        return constant_info(tensor);
    }
    if let Some(value) = node.int("value_int") {
        return ints(&[value]);
    }
    if let Some(values) = node.ints("value_ints") {
        return ints(values);
    }
    let is_number = node.attribute("value_float").is_some() || node.attribute("value_floats").is_some();
    Info::of_type(is_number.then_some(DataType::FLOAT), None)
}
