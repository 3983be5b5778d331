//! The edits of a model for onnxruntime, on the bytes of the file, because they must keep what this crate does not know.

use std::collections::HashSet;

use super::analysis::Found;
use super::division::new_names;
use super::functions::{self, Function};
use crate::wire::{self, Field};

/// Numbers of fields in the messages of ONNX (`onnx.proto`).
pub(super) mod field {
    pub(in super::super) const MODEL_GRAPH: u32 = 7;
    pub(in super::super) const GRAPH_NODE: u32 = 1;
    pub(super) const GRAPH_INPUT: u32 = 11;
    pub(super) const GRAPH_OUTPUT: u32 = 12;
    pub(super) const GRAPH_VALUE_INFO: u32 = 13;
    pub(in super::super) const NODE_INPUT: u32 = 1;
    pub(in super::super) const NODE_OUTPUT: u32 = 2;
    pub(in super::super) const NODE_NAME: u32 = 3;
    pub(in super::super) const NODE_OPERATOR: u32 = 4;
    pub(super) const NODE_ATTRIBUTE: u32 = 5;
    pub(super) const NODE_DOMAIN: u32 = 7;
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
pub(super) fn apply(
    model: &[u8],
    found: &Found,
    functions: &[Function],
    names: &mut HashSet<String>,
) -> Option<Vec<u8>> {
    let mut functions = functions.iter();
    wire::edited(model, |member, out| {
        let Some(value) = member.value else { return Some(false) };
        let edited = match member.number {
            field::MODEL_GRAPH => edit_graph(value, found, Place::Main, names)?,
            functions::field::MODEL_FUNCTION => edit_function(value, &functions.next()?.found, names)?,
            _ => return Some(false),
        };
        wire::write(out, member.number, &edited);
        Some(true)
    })
}

fn edit_function(function: &[u8], found: &Found, names: &mut HashSet<String>) -> Option<Vec<u8>> {
    let mut index = 0;
    wire::edited(function, |member, out| {
        let (functions::field::FUNCTION_NODE, Some(node)) = (member.number, member.value) else { return Some(false) };
        edit_node(node, index, found, names, member.number, out)?;
        index += 1;
        Some(true)
    })
}

/// Removes declared shapes, which onnxruntime would trust: it computes constants from them. The shapes of the model's
/// inputs are kept, because requests are checked against them. So are the shapes of the outputs of a loop's body: if
/// the loop runs zero times, onnxruntime takes the shapes of the results from them.
fn edit_graph(graph: &[u8], found: &Found, place: Place, names: &mut HashSet<String>) -> Option<Vec<u8>> {
    let (mut index, mut input) = (0, 0);
    wire::edited(graph, |member, out| {
        let Some(value) = member.value else { return Some(false) };
        match member.number {
            field::GRAPH_NODE => {
                edit_node(value, index, found, names, member.number, out)?;
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

/// Writes a node as a field of a number, after the nodes that it needs.
fn edit_node(
    node: &[u8],
    index: usize,
    found: &Found,
    names: &mut HashSet<String>,
    number: u32,
    out: &mut Vec<u8>,
) -> Option<()> {
    let inputs = match (found.divisions.get(&index), found.sized.get(&index)) {
        (Some(division), _) => Some(super::division::guard(node, *division, names, number, out)?),
        (None, Some(sized)) => Some(super::sizes::guard(node, *sized, names, number, out)?),
        (None, None) => None,
    };
    let operator = wire::fields(node)?.iter().find(|member| member.number == field::NODE_OPERATOR)?.value?;
    let place = match operator {
        b"If" => Place::Branch,
        b"Loop" => Place::Loop,
        _ => Place::Body,
    };
    let names_outputs = needs_names(node, operator)?;
    let (mut input, mut attribute) = (0, 0);
    let node = wire::edited(node, |member, out| {
        let Some(value) = member.value else { return Some(false) };
        match (member.number, &inputs) {
            (field::NODE_INPUT, Some(inputs)) => {
                wire::write(out, field::NODE_INPUT, inputs.get(input)?.as_bytes());
                input += 1;
            }
            (field::NODE_OUTPUT, _) if names_outputs && value.is_empty() => {
                let name = new_names(names)("unused");
                wire::write(out, field::NODE_OUTPUT, name.as_bytes());
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
    wire::write(out, number, &node);
    Some(())
}

/// True for a node whose outputs all need names, because onnxruntime writes to outputs without names and ends the process:
/// operators of any number of outputs, `BatchNormalization`, and the functions of the model, which can end in them.
fn needs_names(node: &[u8], operator: &[u8]) -> Option<bool> {
    let members = wire::fields(node)?;
    let domain = members.iter().rfind(|member| member.number == field::NODE_DOMAIN).and_then(|member| member.value);
    let domain = domain.unwrap_or_default();
    // These have outputs that may be absent.
    let is_of_library = |prefix: &[u8]| domain.starts_with(prefix);
    Some(if domain.is_empty() || domain == b"ai.onnx" {
        matches!(operator, b"BatchNormalization" | b"If" | b"Loop" | b"Scan" | b"SequenceMap" | b"Split")
    } else {
        ![b"com.m".as_slice(), b"ai.onnx"].into_iter().any(is_of_library)
    })
}
