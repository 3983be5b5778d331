//! The functions of a model: lists of nodes that it calls like operators (ONNX, "Functions"). The parser does not read them.

use rten_onnx::onnx::{AttributeProto, GraphProto, ModelProto};

use super::analysis::Found;
use crate::node;
use crate::well_formed::parse_model;
use crate::wire;

/// Numbers of fields in the messages of ONNX (`onnx.proto`).
pub(super) mod field {
    pub(in super::super) const MODEL_FUNCTION: u32 = 25;
    pub(in super::super) const FUNCTION_NODE: u32 = 7;
    const FUNCTION_NAME: u32 = 1;
    const FUNCTION_INPUT: u32 = 4;
    const FUNCTION_OUTPUT: u32 = 5;
    const FUNCTION_OPSET: u32 = 9;
    const FUNCTION_DOMAIN: u32 = 10;
    const FUNCTION_VALUE_INFO: u32 = 12;
    const MODEL_GRAPH: u32 = 7;
    const MODEL_OPSET: u32 = 8;
    const VALUE_NAME: u32 = 1;

    /// What a field of a function is.
    pub(super) enum Part {
        Name,
        Domain,
        /// A field of a model.
        Model(u32),
        /// A field of a graph; true for a name that must become a value.
        Graph(u32, bool),
        Other,
    }

    pub(super) fn part(number: u32) -> Part {
        match number {
            FUNCTION_NAME => Part::Name,
            FUNCTION_DOMAIN => Part::Domain,
            FUNCTION_OPSET => Part::Model(MODEL_OPSET),
            FUNCTION_NODE => Part::Graph(1, false),
            FUNCTION_INPUT => Part::Graph(11, true),
            FUNCTION_OUTPUT => Part::Graph(12, true),
            FUNCTION_VALUE_INFO => Part::Graph(13, false),
            _ => Part::Other,
        }
    }

    /// In a graph.
    pub(super) const NODE: u32 = 1;
    /// In a node.
    pub(super) const ATTRIBUTE: u32 = 5;
    /// In an attribute.
    pub(super) const SUBGRAPH: u32 = 6;
    pub(super) const REFERENCE: u32 = 21;
    pub(super) const GRAPH: u32 = MODEL_GRAPH;
    pub(super) const NAME: u32 = VALUE_NAME;
}

/// A function, and what all calls of it found in its body.
pub(crate) struct Function {
    pub(crate) domain: String,
    pub(crate) name: String,
    /// The version of the standard operator set in the body.
    pub(crate) opset: i64,
    /// The body. Its inputs and outputs have names only.
    pub(crate) body: GraphProto,
    pub(super) found: Found,
    /// True if a node calls it.
    pub(super) is_called: bool,
}

/// The functions of a model, in the order of the file; `None` if one is not valid.
pub(crate) fn read(model: &[u8]) -> Option<Vec<Function>> {
    wire::fields(model)?
        .iter()
        .filter(|member| member.number == field::MODEL_FUNCTION)
        .map(|member| function(member.value?))
        .collect()
}

/// Reads a function as a model whose graph is the body.
fn function(bytes: &[u8]) -> Option<Function> {
    let (mut name, mut domain) = (String::new(), String::new());
    let (mut graph, mut model) = (Vec::new(), Vec::new());
    for member in wire::fields(bytes)? {
        let Some(value) = member.value else { continue };
        match field::part(member.number) {
            field::Part::Name => name = String::from_utf8_lossy(value).into_owned(),
            field::Part::Domain => domain = String::from_utf8_lossy(value).into_owned(),
            field::Part::Model(number) => wire::write(&mut model, number, value),
            field::Part::Graph(field::NODE, false) => {
                wire::write(&mut graph, field::NODE, &without_values_of_references(value, 0)?);
            }
            field::Part::Graph(number, false) => wire::write(&mut graph, number, value),
            field::Part::Graph(number, true) => {
                let mut named = Vec::new();
                wire::write(&mut named, field::NAME, value);
                wire::write(&mut graph, number, &named);
            }
            field::Part::Other => {}
        }
    }
    wire::write(&mut model, field::GRAPH, &graph);
    let model: ModelProto = parse_model(&model)?;
    let opset = node::opset_or_first(&model);
    Some(Function { domain, name, opset, body: model.graph?, found: Found::default(), is_called: false })
}

/// The parsers allow fewer.
const MAX_DEPTH: usize = 100;

/// The node of a function without the values of the attributes that refer to an attribute of the call (`ref_attr_name`);
/// only their names stay. The values in the file are never used, and the parser does not read the reference.
fn without_values_of_references(node: &[u8], depth: usize) -> Option<Vec<u8>> {
    if depth > MAX_DEPTH {
        return None;
    }
    let in_graph = |graph: &[u8]| {
        wire::edited(graph, |member, out| match member.value {
            Some(node) if member.number == field::NODE => {
                wire::write(out, field::NODE, &without_values_of_references(node, depth + 1)?);
                Some(true)
            }
            _ => Some(false),
        })
    };
    wire::edited(node, |member, out| {
        let (field::ATTRIBUTE, Some(attribute)) = (member.number, member.value) else { return Some(false) };
        let refers = wire::fields(attribute)?.iter().any(|member| member.number == field::REFERENCE);
        let edited = wire::edited(attribute, |member, out| match member.value {
            _ if refers => Some(member.number != field::NAME),
            Some(graph) if member.number == field::SUBGRAPH => {
                wire::write(out, field::SUBGRAPH, &in_graph(graph)?);
                Some(true)
            }
            _ => Some(false),
        })?;
        wire::write(out, field::ATTRIBUTE, &edited);
        Some(true)
    })
}

/// True for an attribute without a value, which a call of the function gives.
pub(super) fn is_reference(attribute: &AttributeProto) -> bool {
    let AttributeProto { name: _, f, s, i, g, t, floats, ints, strings, r#type } = attribute;
    let is_one = f.is_some() || s.is_some() || i.is_some() || g.is_some() || t.is_some();
    !is_one && floats.is_empty() && ints.is_empty() && strings.is_empty() && r#type.is_none()
}
