//! Names: each stands for one value, and a value is computed before it is used.

use std::collections::{HashMap, HashSet};

use rten_onnx::onnx::{GraphProto, NodeProto};

use crate::node;
use crate::rejected::Rejected;
use crate::wire;

/// Each name of a graph stands for one value (ONNX IR, "Names Within a Graph"); engines take different ones of two. An input
/// may have a constant of its name, which is its default.
pub(super) fn check_names(graph: &GraphProto) -> Result<(), Rejected> {
    let constants = graph.initializer.iter().filter_map(|constant| constant.name.as_deref());
    let inputs = graph.input.iter().filter_map(|input| input.name.as_deref());
    let outputs = graph.node.iter().flat_map(|node| &node.output).map(String::as_str);
    let (mut defined, mut given) = (HashSet::new(), HashSet::new());
    let twice = first_twice(constants, &mut defined).or_else(|| first_twice(inputs, &mut given)).or_else(|| {
        defined.extend(&given);
        first_twice(outputs, &mut defined)
    });
    twice.map_or(Ok(()), |name| Err(defined_twice(name)))
}

/// The first name that is known already.
fn first_twice<'a>(mut names: impl Iterator<Item = &'a str>, known: &mut HashSet<&'a str>) -> Option<&'a str> {
    names.find(|&name| !name.is_empty() && !known.insert(name))
}

fn defined_twice(name: &str) -> Rejected {
    Rejected::model(format!(
        "the model defines the value `{name}` twice, so it is not known which is meant: give one of them another name"
    ))
}

/// Each output of a model has a name of its own, by which an answer contains it.
pub(super) fn check_outputs(graph: &GraphProto) -> Result<(), Rejected> {
    let mut names = HashSet::new();
    match graph.output.iter().filter_map(|output| output.name.as_deref()).find(|name| !names.insert(*name)) {
        Some(name) => Err(Rejected::model(format!(
            "the model returns the output `{name}` twice: remove one of them, or return a copy of it (`Identity`)"
        ))),
        None => Ok(()),
    }
}

/// The nodes of a graph are in an order in which they can run (ONNX IR, "Graphs"). onnxruntime sorts them, others do not.
pub(super) fn check_order(graph: &GraphProto) -> Result<(), Rejected> {
    let computed = graph.node.iter().enumerate().flat_map(|(at, node)| node.output.iter().map(move |name| (name, at)));
    let computed: HashMap<&str, usize> =
        computed.filter(|(name, _)| !name.is_empty()).map(|(name, at)| (name.as_str(), at)).collect();
    for (at, node) in graph.node.iter().enumerate() {
        let mut used = HashSet::new();
        read(node, &mut used);
        let later = used.into_iter().filter_map(|name| Some((name, *computed.get(name)?))).filter(|&(_, by)| by >= at);
        // The first by name, so that the message is always the same.
        if let Some((name, by)) = later.min() {
            let operator = |node: &NodeProto| node.op_type.clone().unwrap_or_default();
            let (title, producer) = (node::title(node), &graph.node[by]);
            let by = if by == at {
                "only it computes itself".to_owned()
            } else {
                format!("only the later node `{}` ({}) computes", node::title(producer), operator(producer))
            };
            return Err(Rejected::model(format!(
                "node `{title}` ({}) uses the value `{name}`, which {by}: the nodes of a model must be in the order in which \
                 they run; sort them, or export the model again",
                operator(node)
            )));
        }
    }
    Ok(())
}

/// The names that a node reads, also those that its graphs read from the graph around it.
fn read<'a>(node: &'a NodeProto, used: &mut HashSet<&'a str>) {
    used.extend(node.input.iter().map(String::as_str));
    for body in node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()) {
        let mut inner: HashSet<&str> = body.output.iter().filter_map(|output| output.name.as_deref()).collect();
        body.node.iter().for_each(|node| read(node, &mut inner));
        let constants = body.initializer.iter().filter_map(|constant| constant.name.as_deref());
        let inputs = body.input.iter().filter_map(|input| input.name.as_deref());
        for name in constants.chain(inputs).chain(body.node.iter().flat_map(|node| &node.output).map(String::as_str)) {
            inner.remove(name);
        }
        used.extend(inner);
    }
}

/// Sparse constants, which the parser does not read: none has the name of another value, of which onnxruntime takes one.
pub(crate) fn check_sparse(model: &[u8]) -> Result<(), Rejected> {
    const GRAPH: u32 = 7;
    let graph = wire::fields(model).into_iter().flatten().find(|field| field.number == GRAPH);
    match graph.and_then(|graph| in_graph(graph.value?, 0)) {
        Some(name) => Err(defined_twice(&name)),
        None => Ok(()),
    }
}

/// The parsers allow fewer.
const MAX_DEPTH: usize = 100;

/// The name of a sparse constant of a graph, or of a graph in it, that something else has too.
fn in_graph(graph: &[u8], depth: usize) -> Option<String> {
    // Fields of the messages in `onnx.proto`.
    const NODE: u32 = 1;
    const NODE_OUTPUT: u32 = 2;
    const NODE_ATTRIBUTE: u32 = 5;
    const ATTRIBUTE_GRAPH: u32 = 6;
    const CONSTANT: u32 = 5;
    const TENSOR_NAME: u32 = 8;
    const INPUT: u32 = 11;
    const VALUE_NAME: u32 = 1;
    const SPARSE: u32 = 15;
    const SPARSE_VALUES: u32 = 1;
    if depth > MAX_DEPTH {
        return None;
    }
    fn inside<'a>(message: &'a [u8], number: u32) -> impl Iterator<Item = &'a [u8]> {
        let fields = wire::fields(message).unwrap_or_default();
        fields.into_iter().filter(move |field| field.number == number).filter_map(|field| field.value)
    }
    for attribute in inside(graph, NODE).flat_map(|node| inside(node, NODE_ATTRIBUTE)) {
        let inner = inside(attribute, ATTRIBUTE_GRAPH).find_map(|body| in_graph(body, depth + 1));
        if inner.is_some() {
            return inner;
        }
    }
    let sparse: Vec<&[u8]> = inside(graph, SPARSE)
        .flat_map(|sparse| inside(sparse, SPARSE_VALUES))
        .filter_map(|values| inside(values, TENSOR_NAME).last())
        .collect();
    if sparse.is_empty() {
        return None;
    }
    let constants = inside(graph, CONSTANT).filter_map(|tensor| inside(tensor, TENSOR_NAME).last());
    let inputs = inside(graph, INPUT).filter_map(|input| inside(input, VALUE_NAME).last());
    let outputs = inside(graph, NODE).flat_map(|node| inside(node, NODE_OUTPUT));
    let mut defined: HashSet<&[u8]> = constants.chain(inputs).chain(outputs).collect();
    let twice = sparse.into_iter().find(|name| !defined.insert(name));
    twice.map(|name| String::from_utf8_lossy(name).into_owned())
}
