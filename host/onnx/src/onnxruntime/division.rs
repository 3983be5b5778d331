//! Keeps a division of integers from dividing by −1, because the least number divided by −1 ends the process on x86.

use std::collections::HashSet;

use rten_onnx::onnx::{AttributeProto, AttributeType, DataType, GraphProto, ModelProto, NodeProto};

use super::analysis::Division;
use super::edits::field;
use crate::node;
use crate::tensor;
use crate::wire;

/// Writes nodes that go before a division, each as a protobuf field with the number `number`: `x / −1` becomes
/// `−x / 1`, and `x mod −1` becomes `x mod 1`. Returns the new inputs.
pub(super) fn guard(
    node: &[u8],
    division: Division,
    names: &mut HashSet<String>,
    number: u32,
    out: &mut Vec<u8>,
) -> Option<Vec<String>> {
    let members = wire::fields(node)?;
    let mut inputs = members
        .iter()
        .filter(|member| member.number == field::NODE_INPUT)
        .filter_map(|member| Some(String::from_utf8_lossy(member.value?).into_owned()));
    let operands = (inputs.next()?, inputs.next()?);
    let mut name = new_names(names);
    let (nodes, inputs) = match division.ty {
        Some(ty) => of_type(operands, ty, division.is_quotient, &mut name),
        None => of_any_type(operands, &mut name),
    };
    append(nodes, number, out)?;
    Some(inputs)
}

/// Makes names of values that the model does not have.
pub(super) fn new_names(names: &mut HashSet<String>) -> impl FnMut(&str) -> String {
    // A number that is probably free: counting from 0 for each division would be quadratic.
    let mut counter = names.len();
    move |purpose| {
        loop {
            let name = format!("plimsoll.{purpose}.{counter}");
            counter += 1;
            if names.insert(name.clone()) {
                return name;
            }
        }
    }
}

fn of_type(
    (number, divisor): (String, String),
    ty: DataType,
    is_quotient: bool,
    name: &mut dyn FnMut(&str) -> String,
) -> (Vec<NodeProto>, Vec<String>) {
    let (minus_one, one) = (name("minus_one"), name("one"));
    let (negates, safe_divisor) = (name("negates"), name("divisor"));
    let mut nodes = vec![
        constant(&minus_one, ty, -1.0),
        constant(&one, ty, 1.0),
        node::new("Equal", &[&divisor, &minus_one], &negates),
        node::new("Where", &[&negates, &one, &divisor], &safe_divisor),
    ];
    if !is_quotient {
        return (nodes, vec![number, safe_divisor]);
    }
    let (negated, safe_number) = (name("negated"), name("number"));
    nodes.push(node::new("Neg", &[&number], &negated));
    nodes.push(node::new("Where", &[&negates, &negated, &number], &safe_number));
    (nodes, vec![safe_number, safe_divisor])
}

/// For numbers of any type: z is −1 if it is −1 in DOUBLE; then `x · z` is −x, and `z · z` is 1. FLOAT keeps its numbers.
fn of_any_type(
    (number, divisor): (String, String),
    name: &mut dyn FnMut(&str) -> String,
) -> (Vec<NodeProto>, Vec<String>) {
    let (minus_one, double, negates) = (name("minus_one"), name("double"), name("negates"));
    let (product, square) = (name("product"), name("square"));
    let (safe_number, safe_divisor) = (name("number"), name("divisor"));
    let nodes = vec![
        double_constant(&minus_one, -1.0),
        node::cast(&divisor, DataType::DOUBLE, &double),
        node::new("Equal", &[&double, &minus_one], &negates),
        node::new("Mul", &[&number, &divisor], &product),
        node::new("Mul", &[&divisor, &divisor], &square),
        node::new("Where", &[&negates, &product, &number], &safe_number),
        node::new("Where", &[&negates, &square, &divisor], &safe_divisor),
    ];
    (nodes, vec![safe_number, safe_divisor])
}

fn constant(name: &str, ty: DataType, value: f32) -> NodeProto {
    with_value(name, tensor::scalar("", ty, value))
}

fn double_constant(name: &str, value: f64) -> NodeProto {
    let value = rten_onnx::onnx::TensorProto {
        data_type: Some(DataType::DOUBLE),
        raw_data: Some(std::cell::RefCell::new(value.to_le_bytes().to_vec())),
        ..rten_onnx::onnx::TensorProto::default()
    };
    with_value(name, value)
}

fn with_value(name: &str, value: rten_onnx::onnx::TensorProto) -> NodeProto {
    let mut constant = node::new("Constant", &[], name);
    constant.attribute.push(AttributeProto {
        name: Some("value".into()),
        t: Some(value),
        r#type: Some(AttributeType::TENSOR),
        ..AttributeProto::default()
    });
    constant
}

/// Writes nodes as fields of a number.
pub(super) fn append(node: Vec<NodeProto>, number: u32, out: &mut Vec<u8>) -> Option<()> {
    let graph = GraphProto { node, ..GraphProto::default() };
    let model = ModelProto { graph: Some(graph), ..ModelProto::default() }.write_buf().ok()?;
    let members = wire::fields(&model)?;
    let graph = members.iter().find(|member| member.number == field::MODEL_GRAPH)?.value?;
    for member in wire::fields(graph)?.iter().filter(|member| member.number == field::GRAPH_NODE) {
        wire::write(out, number, member.value?);
    }
    Some(())
}
