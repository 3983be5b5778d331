//! The edits of a model for onnxruntime, on the bytes of the file, because they must keep what this crate does not know.

use std::collections::HashSet;

use rten_onnx::onnx::{GraphProto, ModelProto, NodeProto};

use super::analysis::{Division, Found};
use crate::node;
use crate::tensor;
use crate::wire::{self, Field};

/// Numbers of fields in the messages of ONNX (`onnx.proto`).
mod field {
    pub(super) const MODEL_GRAPH: u32 = 7;
    pub(super) const GRAPH_NODE: u32 = 1;
    pub(super) const GRAPH_INITIALIZER: u32 = 5;
    pub(super) const GRAPH_INPUT: u32 = 11;
    pub(super) const GRAPH_OUTPUT: u32 = 12;
    pub(super) const GRAPH_VALUE_INFO: u32 = 13;
    pub(super) const NODE_INPUT: u32 = 1;
    pub(super) const NODE_OPERATOR: u32 = 4;
    pub(super) const NODE_ATTRIBUTE: u32 = 5;
    pub(super) const ATTRIBUTE_GRAPH: u32 = 6;
    pub(super) const VALUE_TYPE: u32 = 2;
    pub(super) const TYPE_TENSOR: u32 = 1;
    pub(super) const TYPE_SEQUENCE: u32 = 4;
    pub(super) const TYPE_OPTIONAL: u32 = 9;
    pub(super) const CONTAINER_ELEMENT: u32 = 1;
    pub(super) const TENSOR_SHAPE: u32 = 2;
    pub(super) const SHAPE_DIMENSION: u32 = 1;
}

/// The place of a graph.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Main,
    /// A branch of an `If`.
    Branch,
    /// The body of a `Loop`, whose first two inputs are its counter and its condition.
    Loop,
    /// The body of another operator.
    Body,
}

/// The edited model; `None` if the bytes are not a model.
pub(super) fn apply(model: &[u8], found: &Found, names: &mut HashSet<String>) -> Option<Vec<u8>> {
    wire::edited(model, |member, out| {
        let (field::MODEL_GRAPH, Some(graph)) = (member.number, member.value) else { return Some(false) };
        wire::write(out, field::MODEL_GRAPH, &edit_graph(graph, found, Place::Main, names)?);
        Some(true)
    })
}

/// Removes declared shapes, which onnxruntime would trust: it computes constants from them. Of the inputs of the model
/// they are kept, because requests are checked against them. Bodies need the shapes of their outputs for the case of no
/// rounds.
fn edit_graph(graph: &[u8], found: &Found, place: Place, names: &mut HashSet<String>) -> Option<Vec<u8>> {
    let (mut index, mut input) = (0, 0);
    wire::edited(graph, |member, out| {
        let Some(value) = member.value else { return Some(false) };
        match member.number {
            field::GRAPH_NODE => {
                edit_node(value, index, found, names, out)?;
                index += 1;
            }
            field::GRAPH_INPUT if place == Place::Main => return Some(false),
            field::GRAPH_INPUT => {
                input += 1;
                if place == Place::Loop && input <= 2 {
                    return Some(false);
                }
                wire::write(out, member.number, &edit_member(value, field::VALUE_TYPE, with_open_sizes)?);
            }
            field::GRAPH_OUTPUT if matches!(place, Place::Loop | Place::Body) => return Some(false),
            field::GRAPH_OUTPUT | field::GRAPH_VALUE_INFO => {
                wire::write(out, member.number, &edit_member(value, field::VALUE_TYPE, without_shape)?);
            }
            _ => return Some(false),
        }
        Some(true)
    })
}

/// Edits the members of one number.
fn edit_member(message: &[u8], number: u32, edit: fn(&[u8]) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    wire::edited(message, |member, out| match member.value {
        Some(value) if member.number == number => {
            wire::write(out, number, &edit(value)?);
            Some(true)
        }
        _ => Some(false),
    })
}

/// A type without a shape, also inside of a sequence or an optional value.
fn without_shape(ty: &[u8]) -> Option<Vec<u8>> {
    wire::edited(ty, |member, out| {
        let Some(value) = member.value else { return Some(false) };
        let edited = match member.number {
            field::TYPE_TENSOR => wire::edited(value, |member, _| Some(member.number == field::TENSOR_SHAPE))?,
            field::TYPE_SEQUENCE | field::TYPE_OPTIONAL => edit_member(value, field::CONTAINER_ELEMENT, without_shape)?,
            _ => return Some(false),
        };
        wire::write(out, member.number, &edited);
        Some(true)
    })
}

/// A type of a tensor with the same number of dimensions, but without their sizes.
fn with_open_sizes(ty: &[u8]) -> Option<Vec<u8>> {
    let open = |shape: &[u8]| edit_member(shape, field::SHAPE_DIMENSION, |_| Some(Vec::new()));
    wire::edited(ty, |member, out| match member.value {
        Some(value) if member.number == field::TYPE_TENSOR => {
            wire::write(out, member.number, &edit_member(value, field::TENSOR_SHAPE, open)?);
            Some(true)
        }
        _ => Some(false),
    })
}

fn edit_node(node: &[u8], index: usize, found: &Found, names: &mut HashSet<String>, out: &mut Vec<u8>) -> Option<()> {
    let inputs = match found.divisions.get(&index) {
        Some(division) => Some(guard(node, *division, names, out)?),
        None => None,
    };
    let operator = wire::fields(node)?.iter().find(|member| member.number == field::NODE_OPERATOR)?.value?;
    let place = match operator {
        b"If" => Place::Branch,
        b"Loop" => Place::Loop,
        _ => Place::Body,
    };
    let (mut input, mut attribute) = (0, 0);
    let node = wire::edited(node, |member, out| {
        let Some(value) = member.value else { return Some(false) };
        match (member.number, &inputs) {
            (field::NODE_INPUT, Some(inputs)) => {
                wire::write(out, field::NODE_INPUT, inputs.get(input)?.as_bytes());
                input += 1;
            }
            (field::NODE_ATTRIBUTE, _) => {
                let subgraph = found.subgraphs.get(&(index, attribute));
                attribute += 1;
                let Some(subgraph) = subgraph else { return Some(false) };
                let edited = wire::edited(value, |member: &Field<'_>, out: &mut Vec<u8>| match member.value {
                    Some(graph) if member.number == field::ATTRIBUTE_GRAPH => {
                        wire::write(out, member.number, &edit_graph(graph, subgraph, place, names)?);
                        Some(true)
                    }
                    _ => Some(false),
                })?;
                wire::write(out, field::NODE_ATTRIBUTE, &edited);
            }
            _ => return Some(false),
        }
        Some(true)
    })?;
    wire::write(out, field::GRAPH_NODE, &node);
    Some(())
}

/// Adds nodes before a division so that it never divides by −1, because the least number divided by −1 ends the process
/// on x86: `x / −1` becomes `−x / 1`, and `x mod −1` becomes `x mod 1`. Returns the new inputs.
fn guard(node: &[u8], division: Division, names: &mut HashSet<String>, out: &mut Vec<u8>) -> Option<Vec<String>> {
    let members = wire::fields(node)?;
    let mut inputs = members
        .iter()
        .filter(|member| member.number == field::NODE_INPUT)
        .filter_map(|member| Some(String::from_utf8_lossy(member.value?).into_owned()));
    let (number, divisor) = (inputs.next()?, inputs.next()?);
    let mut name = |purpose: &str| {
        let mut counter = 0;
        loop {
            let name = format!("plimsoll.{purpose}.{counter}");
            counter += 1;
            if names.insert(name.clone()) {
                return name;
            }
        }
    };
    let (minus_one, one) = (name("minus_one"), name("one"));
    let (negates, safe_divisor) = (name("negates"), name("divisor"));
    let mut nodes = vec![
        node::new("Equal", &[&divisor, &minus_one], &negates),
        node::new("Where", &[&negates, &one, &divisor], &safe_divisor),
    ];
    let safe_number = if division.is_quotient {
        let (negated, safe_number) = (name("negated"), name("number"));
        nodes.push(node::new("Neg", &[&number], &negated));
        nodes.push(node::new("Where", &[&negates, &negated, &number], &safe_number));
        safe_number
    } else {
        number
    };
    let initializer = vec![tensor::scalar(&minus_one, division.ty, -1.0), tensor::scalar(&one, division.ty, 1.0)];
    append(nodes, initializer, out)?;
    Some(vec![safe_number, safe_divisor])
}

/// Adds nodes and constants to a graph.
fn append(node: Vec<NodeProto>, initializer: Vec<rten_onnx::onnx::TensorProto>, out: &mut Vec<u8>) -> Option<()> {
    let graph = GraphProto { node, initializer, ..GraphProto::default() };
    let model = ModelProto { graph: Some(graph), ..ModelProto::default() }.write_buf().ok()?;
    let members = wire::fields(&model)?;
    let graph = members.iter().find(|member| member.number == field::MODEL_GRAPH)?.value?;
    for member in wire::fields(graph)? {
        if matches!(member.number, field::GRAPH_NODE | field::GRAPH_INITIALIZER) {
            wire::copy(out, &member);
        }
    }
    Some(())
}
