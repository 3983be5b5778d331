//! Visits the nodes of a model in order, and replaces each node by what its rule says.

use std::collections::{HashMap, HashSet};

use rten_onnx::onnx::{DataType, GraphProto, ModelProto, NodeProto, TensorProto};

use crate::infer;
use crate::node::{self, Edit};
use crate::rejected::{Reason, Rejected};
use crate::rules;
use crate::site::Site;
use crate::tensor;
use crate::types::{Info, Values};

/// Corrects the main graph and all subgraphs.
pub(crate) fn model(model: &mut ModelProto, opset: i64) -> Result<(), Rejected> {
    let Some(graph) = &mut model.graph else { return Ok(()) };
    let mut walk = Walk {
        opset,
        names: HashSet::new(),
        created: 0,
        booleans: HashMap::new(),
        rounded: HashSet::new(),
        repeated: HashSet::new(),
        used: HashSet::new(),
        has_nan: contains_nan(graph),
    };
    walk.collect_names(graph);
    walk.collect_rounded(graph);
    walk.collect_repeated(graph);
    walk.graph(graph, &Values::default(), true)?;
    Ok(())
}

/// True if a constant of the graph or its subgraphs contains NaN.
fn contains_nan(graph: &GraphProto) -> bool {
    let attributes = || graph.node.iter().flat_map(|node| &node.attribute);
    graph.initializer.iter().any(tensor::has_nan)
        || attributes().filter_map(|attribute| attribute.t.as_ref()).any(tensor::has_nan)
        || attributes().filter_map(|attribute| attribute.g.as_ref()).any(contains_nan)
}

struct Walk {
    opset: i64,
    /// The names of all values in the model; new names must differ from them.
    names: HashSet<String>,
    created: usize,
    /// Boolean inputs of the model, and the values that replace them.
    booleans: HashMap<String, String>,
    /// Values that are rounded to integers, see [`Site::is_rounded`].
    rounded: HashSet<String>,
    /// Values that are expanded and then reshaped.
    repeated: HashSet<String>,
    /// Values that a node takes or a graph returns.
    used: HashSet<String>,
    has_nan: bool,
}

impl Walk {
    fn collect_names(&mut self, graph: &GraphProto) {
        let values = graph.input.iter().chain(&graph.output).filter_map(|value| value.name.clone());
        self.names.extend(values.chain(graph.initializer.iter().filter_map(|tensor| tensor.name.clone())));
        self.used.extend(graph.output.iter().filter_map(|value| value.name.clone()));
        for node in &graph.node {
            self.used.extend(node.input.iter().cloned());
            self.names.extend(node.input.iter().chain(&node.output).cloned());
            for attribute in &node.attribute {
                if let Some(graph) = &attribute.g {
                    self.collect_names(graph);
                }
            }
        }
    }

    fn collect_repeated(&mut self, graph: &GraphProto) {
        let is = |node: &NodeProto, operator: &str| node.op_type.as_deref() == Some(operator);
        let reshaped: HashSet<&str> =
            graph.node.iter().filter(|node| is(node, "Reshape")).filter_map(|node| node.input(0)).collect();
        let expands = graph.node.iter().filter(|node| is(node, "Expand"));
        let repeats = expands.filter(|node| node.output(0).is_some_and(|output| reshaped.contains(output)));
        self.repeated.extend(repeats.filter_map(|node| node.input(0)).map(str::to_owned));
        for subgraph in graph.node.iter().flat_map(|node| &node.attribute).filter_map(|attribute| attribute.g.as_ref())
        {
            self.collect_repeated(subgraph);
        }
    }

    /// Follows the values that are rounded to integers backwards through elementwise operators.
    fn collect_rounded(&mut self, graph: &GraphProto) {
        for node in graph.node.iter().rev() {
            for attribute in &node.attribute {
                if let Some(graph) = &attribute.g {
                    self.collect_rounded(graph);
                }
            }
            let operator = node.op_type.as_deref().unwrap_or_default();
            let rounds = matches!(
                operator,
                "Cast"
                    | "CastLike"
                    | "Ceil"
                    | "DynamicQuantizeLinear"
                    | "Equal"
                    | "Floor"
                    | "Greater"
                    | "GreaterOrEqual"
                    | "Less"
                    | "LessOrEqual"
                    | "Mod"
                    | "QuantizeLinear"
                    | "Round"
            );
            let elementwise = matches!(
                operator,
                "Abs"
                    | "Add"
                    | "Clip"
                    | "Concat"
                    | "Div"
                    | "Expand"
                    | "Gather"
                    | "Identity"
                    | "Max"
                    | "Min"
                    | "Mul"
                    | "Neg"
                    | "Relu"
                    | "Reshape"
                    | "Slice"
                    | "Squeeze"
                    | "Sub"
                    | "Transpose"
                    | "Unsqueeze"
                    | "Where"
            );
            if rounds || elementwise && node.output.iter().any(|output| self.rounded.contains(output)) {
                self.rounded.extend(node.input.iter().cloned());
            }
        }
    }

    /// Corrects a graph. `outer` are the values of the graphs around it. Returns what is known about its outputs.
    fn graph(&mut self, graph: &mut GraphProto, outer: &Values, is_main: bool) -> Result<Vec<Info>, Rejected> {
        let mut values = outer.clone();
        let mut inserted = Vec::new();
        let mut constants = Vec::new();
        for input in &graph.input {
            let (name, info) = (input.name.as_deref().unwrap_or_default(), Info::declared(input));
            let is_constant = graph.initializer.iter().any(|tensor| tensor.name.as_deref() == Some(name));
            if !is_constant {
                rules::check_input(input, &info, is_main)?;
            }
            let is_boolean = info.ty == Some(DataType::BOOL);
            values.insert(name, info);
            // A request can contain other integers than 0 and 1.
            if is_main && is_boolean && !is_constant {
                self.normalise_booleans(name, &mut inserted, &mut constants, &mut values);
            }
        }
        for constant in &graph.initializer {
            let name = constant.name.as_deref().unwrap_or_default();
            rules::check_constant(name, constant)?;
            values.insert(name, Info::constant(constant));
        }
        let declared: HashMap<String, Info> = graph
            .value_info
            .iter()
            .chain(&graph.output)
            .filter_map(|value| Some((value.name.clone()?, Info::declared(value))))
            .collect();

        let nodes = std::mem::take(&mut graph.node);
        graph.node = inserted;
        for mut node in nodes {
            for input in &mut node.input {
                if let Some(normalised) = self.booleans.get(input.as_str()) {
                    input.clone_from(normalised);
                }
            }
            let outputs = self.node(&mut node, &values, &mut graph.node, &mut constants)?;
            for (name, info) in outputs {
                values.define(&name, info, declared.get(&name));
            }
        }
        graph.initializer.append(&mut constants);
        for output in &graph.output {
            let name = output.name.as_deref().unwrap_or_default();
            let info = values.get(name).cloned().unwrap_or_else(|| Info::declared(output));
            rules::check_output(output, &info, is_main)?;
        }
        Ok(graph
            .output
            .iter()
            .map(|output| {
                let name = output.name.as_deref().unwrap_or_default();
                values.get(name).cloned().unwrap_or_else(|| Info::declared(output))
            })
            .collect())
    }

    /// Adds `Not(Equal(input, 0))` for a boolean input, so that it only contains 0 and 1.
    fn normalise_booleans(
        &mut self,
        input: &str,
        nodes: &mut Vec<NodeProto>,
        constants: &mut Vec<TensorProto>,
        values: &mut Values,
    ) {
        let mut new = |purpose: &str| {
            let mut site = Site {
                opset: self.opset,
                values: &*values,
                constants: Vec::new(),
                names: &mut self.names,
                created: &mut self.created,
                rounded: &self.rounded,
                repeated: &self.repeated,
                used: &self.used,
                has_nan: self.has_nan,
            };
            site.name(purpose)
        };
        let (zero, is_zero, result) = (new("zero"), new("is_zero"), new("bool"));
        constants.push(tensor::scalar(&zero, DataType::INT32, 0.0));
        nodes.push(node::new("Equal", &[input, &zero], &is_zero));
        nodes.push(node::new("Not", &[&is_zero], &result));
        if let Some(info) = values.get(input).cloned() {
            values.insert(&result, Info { bound: 1.0, ..info });
        }
        self.booleans.insert(input.to_owned(), result);
    }

    /// Corrects a node and adds what replaces it to `nodes`. Returns what is known about its outputs.
    fn node(
        &mut self,
        node: &mut NodeProto,
        values: &Values,
        nodes: &mut Vec<NodeProto>,
        constants: &mut Vec<TensorProto>,
    ) -> Result<Vec<(String, Info)>, Rejected> {
        let opset = self.opset;
        let operator = node.op_type.clone().unwrap_or_default();
        let name = node.name.clone().filter(|name| !name.is_empty()).or_else(|| node.output.first().cloned());
        let name = name.unwrap_or_default();
        let rejected = |reason: &Reason| Rejected::node(&name, &operator, opset, reason);

        let mut subgraphs = Vec::new();
        for attribute in &mut node.attribute {
            if let Some(graph) = &mut attribute.g {
                subgraphs.push(self.graph(graph, values, false)?);
            }
        }
        let known = if operator == "Constant" && node::is_standard(node.domain.as_deref()) {
            rules::constant(node).map_err(|reason| rejected(&reason))?
        } else if subgraphs.is_empty() {
            infer::outputs(node, opset, values)
        } else {
            rules::join_branches(node, &subgraphs)
        };
        let outputs: Vec<_> = node.output.iter().cloned().zip(known).filter(|(name, _)| !name.is_empty()).collect();
        for (_, info) in &outputs {
            if let Some(ty) = info.ty {
                rules::check_result(ty, &operator).map_err(|reason| rejected(&reason))?;
            }
        }
        let mut site = Site {
            opset,
            values,
            constants: Vec::new(),
            names: &mut self.names,
            created: &mut self.created,
            rounded: &self.rounded,
            repeated: &self.repeated,
            used: &self.used,
            has_nan: self.has_nan,
        };
        let corrected = rules::apply(std::mem::take(node), &mut site).map_err(|reason| rejected(&reason))?;
        constants.append(&mut site.constants);
        nodes.extend(corrected);
        Ok(outputs)
    }
}
