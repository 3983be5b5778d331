//! Visits the nodes of a model in order, and replaces each node by what its rule says.

mod rounds;

use std::collections::{HashMap, HashSet};

use rten_onnx::onnx::{DataType, GraphProto, ModelProto, NodeProto, TensorProto};

use crate::node;
use crate::rejected::{Reason, Rejected};
use crate::rules;
use crate::run_size::LONGEST_LIST;
use crate::site::Site;
use crate::tensor;
use crate::types::{Info, Values};
use crate::uses::Uses;
use crate::weights::Special;
use crate::{bounds, claims, infer, stated};

/// Corrects the main graph and all subgraphs. `weights` are those in other files that contain NaN or infinities. Returns
/// true if the engine must not get NaN or infinities as inputs.
pub(crate) fn model(model: &mut ModelProto, opset: i64, weights: Special) -> Result<bool, Rejected> {
    let Some(graph) = &mut model.graph else { return Ok(false) };
    let mut walk = Walk {
        opset,
        names: HashSet::new(),
        created: 0,
        booleans: HashMap::new(),
        uses: Uses::of(graph),
        weights,
        loses_nan: false,
        size_limits: HashSet::new(),
        repeated: 0,
    };
    walk.collect_names(graph);
    walk.graph(graph, &Values::default(), None)?;
    rules::share_size_limits(graph, &walk.size_limits);
    Ok(walk.loses_nan)
}

struct Walk {
    opset: i64,
    /// The names of all values in the model; new names must differ from them.
    names: HashSet<String>,
    created: usize,
    /// Boolean inputs of the model, and the values that replace them.
    booleans: HashMap<String, String>,
    uses: Uses,
    weights: Special,
    loses_nan: bool,
    /// See [`Site::size_limits`].
    size_limits: HashSet<String>,
    /// How often the bodies of loops were corrected again.
    repeated: usize,
}

impl Walk {
    fn collect_names(&mut self, graph: &GraphProto) {
        let values = graph.input.iter().chain(&graph.output).filter_map(|value| value.name.clone());
        self.names.extend(values.chain(graph.initializer.iter().filter_map(|tensor| tensor.name.clone())));
        for node in &graph.node {
            self.names.extend(node.input.iter().chain(&node.output).cloned());
            for attribute in &node.attribute {
                if let Some(graph) = &attribute.g {
                    self.collect_names(graph);
                }
            }
        }
    }

    /// Corrects a graph. `outer` are the values of the graphs around it, and `given` the types of its inputs by the node
    /// that contains it; `None` for the main graph. Returns what is known about its outputs.
    fn graph(&mut self, graph: &mut GraphProto, outer: &Values, given: Option<&[Info]>) -> Result<Vec<Info>, Rejected> {
        let is_main = given.is_none();
        let mut values = outer.clone();
        let mut inserted = Vec::new();
        let mut constants = Vec::new();
        if !is_main {
            check_names(graph, outer)?;
        }
        for (index, input) in graph.input.iter().enumerate() {
            let name = input.name.as_deref().unwrap_or_default();
            let info = match given {
                None => Info::checked_input(input),
                Some(given) => Info::of_body(input, given.get(index)),
            };
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
            let mut info = Info::constant(constant);
            info.may_be_nan |= self.weights.nan.contains(name);
            info.may_be_infinite |= self.weights.infinite.contains(name);
            values.insert(name, info);
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
                if let Some(rank) = values.define(&name, info, declared.get(&name)) {
                    self.site(&values, &mut constants, |site| claims::check_output(&name, rank, &mut graph.node, site));
                }
            }
        }
        if let Some(given) = given {
            let claimed = claims::unproven(graph, given, &values);
            self.site(&values, &mut constants, |site| claims::check_inputs(graph, &claimed, site));
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

    /// A place for new nodes in a graph with these values.
    fn new_site<'a>(&'a mut self, values: &'a Values) -> Site<'a> {
        Site {
            opset: self.opset,
            values,
            constants: Vec::new(),
            names: &mut self.names,
            created: &mut self.created,
            uses: &self.uses,
            bodies: Vec::new(),
            is_guarded: false,
            loses_nan: &mut self.loses_nan,
            size_limits: &mut self.size_limits,
        }
    }

    /// Runs a function that creates nodes and constants.
    fn site(&mut self, values: &Values, constants: &mut Vec<TensorProto>, create: impl FnOnce(&mut Site)) {
        let mut site = self.new_site(values);
        create(&mut site);
        constants.append(&mut site.constants);
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
            let mut name = String::new();
            self.site(values, constants, |site| name = site.name(purpose));
            name
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

        if let Some(missing) = node.input.iter().find(|name| !name.is_empty() && values.get(name).is_none()) {
            return Err(rejected(&Reason::unsupported(format!(
                "does not know the value `{missing}`: nothing computes it before this node (sparse constants are not \
                 supported)"
            ))));
        }
        let mut given = rounds::first_inputs(node, values);
        let mut subgraphs = Vec::new();
        for attribute in &mut node.attribute {
            if let Some(graph) = &mut attribute.g {
                subgraphs.push(match operator.as_str() {
                    "Loop" => self.rounds(graph, values, &mut given)?,
                    _ => self.graph(graph, values, Some(&given))?,
                });
            }
        }
        let known = if operator == "Constant" && node::is_standard(node.domain.as_deref()) {
            rules::constant(node).map_err(|reason| rejected(&reason))?
        } else if subgraphs.is_empty() {
            if node::is_standard(node.domain.as_deref()) {
                infer::check_growth(node, opset, values, LONGEST_LIST).map_err(|why| {
                    Rejected::model(format!(
                        "node `{name}` ({operator}, operator set {opset}): {why}: export the model again"
                    ))
                })?;
            }
            infer::outputs(node, opset, values)
        } else {
            rules::join_branches(node, &subgraphs, &given, stated::states_sizes(node, values))
        };
        let mut outputs: Vec<_> = node.output.iter().cloned().zip(known).filter(|(name, _)| !name.is_empty()).collect();
        for (_, info) in &outputs {
            if let Some(ty) = info.ty {
                rules::check_result(ty, &operator).map_err(|reason| rejected(&reason))?;
            }
        }
        let mut site = self.new_site(values);
        site.bodies = subgraphs;
        let corrected = rules::apply(std::mem::take(node), &mut site).map_err(|reason| rejected(&reason))?;
        constants.append(&mut site.constants);
        if site.is_guarded
            && let Some((_, first)) = outputs.first_mut()
        {
            first.bound = bounds::GUARDED;
        }
        nodes.extend(corrected.into_iter().map(|node| named(node, &name)));
        Ok(outputs)
    }
}

/// A graph in a node must not define a name again that the graphs around it have (ONNX requires single assignment); the
/// engine takes one or the other.
fn check_names(graph: &GraphProto, outer: &Values) -> Result<(), Rejected> {
    let inputs = graph.input.iter().filter_map(|value| value.name.as_deref());
    let constants = graph.initializer.iter().filter_map(|constant| constant.name.as_deref());
    let outputs = graph.node.iter().flat_map(|node| &node.output).map(String::as_str);
    match inputs.chain(constants).chain(outputs).find(|name| !name.is_empty() && outer.get(name).is_some()) {
        Some(name) => Err(Rejected::model(format!(
            "a graph inside a node (`If`, `Loop`) defines `{name}` again, which the graph around it already has: give it \
             another name"
        ))),
        None => Ok(()),
    }
}

/// Gives a node without a name one, which errors of the engine contain. `origin` is the node that it replaces. No value has
/// such a name.
fn named(mut node: NodeProto, origin: &str) -> NodeProto {
    if node.name.as_ref().is_none_or(String::is_empty) {
        node.name = Some(format!("{origin} ({})", node.op_type.as_deref().unwrap_or_default()));
    }
    node
}
