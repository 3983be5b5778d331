//! The proof that the rows of a batch do not depend on each other: values that mix rows through branches, loops, functions,
//! sequences and unknown operators, and the graphs of exporters, which must stay proven.

mod functions;
mod mixed;
mod proven;

use plimsoll_onnx::{RowProof, prove_rows};
use rten_onnx::onnx::{
    AttributeProto, AttributeType, DataType, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TypeProto, TypeProtoTensor, ValueInfoProto,
};

/// A value with a shape; a size of 0 is dynamic.
fn shaped(name: &str, shape: &[i64]) -> ValueInfoProto {
    let dim =
        shape.iter().map(|&size| Dimension { dim_value: Some(size).filter(|&size| size > 0), ..Dimension::default() });
    let shape = Some(TensorShapeProto { dim: dim.collect() });
    let tensor_type = Some(TypeProtoTensor { elem_type: Some(DataType::FLOAT), shape });
    ValueInfoProto { name: Some(name.into()), r#type: Some(TypeProto { tensor_type, ..TypeProto::default() }) }
}

fn value(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: Some(name.into()), ..ValueInfoProto::default() }
}

/// A node; the operator may have a domain in front: `com.microsoft:Gelu`.
fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let (domain, operator) = match operator.split_once(':') {
        Some((domain, operator)) => (Some(domain.to_owned()), operator),
        None => (None, operator),
    };
    NodeProto {
        domain,
        op_type: Some(operator.into()),
        input: names(inputs),
        output: names(outputs),
        ..NodeProto::default()
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    let (name, r#type) = (Some(name.into()), Some(AttributeType::INT));
    AttributeProto { name, i: Some(value), r#type, ..AttributeProto::default() }
}

fn list(name: &str, ints: &[i64]) -> AttributeProto {
    let (name, r#type) = (Some(name.into()), Some(AttributeType::INTS));
    AttributeProto { name, ints: ints.to_vec(), r#type, ..AttributeProto::default() }
}

fn text(name: &str, value: &str) -> AttributeProto {
    let (name, r#type) = (Some(name.into()), Some(AttributeType::STRING));
    AttributeProto { name, s: Some(value.into()), r#type, ..AttributeProto::default() }
}

fn body(name: &str, inputs: &[&str], nodes: Vec<NodeProto>, outputs: &[&str]) -> AttributeProto {
    let values = |names: &[&str]| names.iter().map(|name| value(name)).collect();
    let g = Some(GraphProto { input: values(inputs), node: nodes, output: values(outputs), ..GraphProto::default() });
    AttributeProto { name: Some(name.into()), g, r#type: Some(AttributeType::GRAPH), ..AttributeProto::default() }
}

trait With {
    fn with(self, attribute: AttributeProto) -> Self;
}

impl With for NodeProto {
    fn with(mut self, attribute: AttributeProto) -> Self {
        self.attribute.push(attribute);
        self
    }
}

/// A constant of integers: a scalar if there is one number and `name` begins with `i`.
fn ints(name: &str, values: &[i64]) -> TensorProto {
    let dims = if name.starts_with('i') { Vec::new() } else { vec![values.len() as i64] };
    let (name, data_type) = (Some(name.into()), Some(DataType::INT64));
    TensorProto { name, dims, data_type, int64_data: values.to_vec(), ..TensorProto::default() }
}

fn floats(name: &str, shape: &[i64]) -> TensorProto {
    let (name, data_type) = (Some(name.into()), Some(DataType::FLOAT));
    let float_data = vec![0.5; shape.iter().product::<i64>() as usize];
    TensorProto { name, dims: shape.to_vec(), data_type, float_data, ..TensorProto::default() }
}

/// A model of the input `x` with this shape and the output `y`.
fn model(shape: &[i64], nodes: Vec<NodeProto>) -> ModelProto {
    let initializer = vec![
        ints("i0", &[0]),
        ints("i1", &[1]),
        ints("i5", &[5]),
        ints("i64", &[64]),
        ints("l0", &[0]),
        ints("l1", &[1]),
        ints("heads", &[2, 2]),
        ints("l4", &[4]),
        floats("w", &[4, 4]),
        floats("wide", &[4, 12]),
        floats("bias12", &[12]),
        floats("v", &[4]),
        floats("s", &[]),
        floats("limit", &[]),
    ];
    let graph = GraphProto {
        input: vec![shaped("x", shape)],
        node: nodes,
        output: vec![value("y")],
        initializer,
        ..GraphProto::default()
    };
    let opset_import = vec![OperatorSetIdProto { version: Some(17), ..OperatorSetIdProto::default() }];
    ModelProto { graph: Some(graph), opset_import, ..ModelProto::default() }
}

fn proof(shape: &[i64], nodes: Vec<NodeProto>) -> RowProof {
    prove_rows(&model(shape, nodes).write_buf().expect("written"))
}

/// Whether any row has a number above the limit: one number for all rows.
fn hit() -> Vec<NodeProto> {
    vec![
        node("Greater", &["x", "limit"], &["g"]),
        node("Cast", &["g"], &["gf"]).with(int("to", 1)),
        node("ReduceMax", &["gf"], &["mx"]).with(int("keepdims", 0)),
        node("Cast", &["mx"], &["hit"]).with(int("to", 9)),
    ]
}

fn all(parts: &[Vec<NodeProto>]) -> Vec<NodeProto> {
    parts.concat()
}

#[track_caller]
fn is_mixed(nodes: Vec<NodeProto>) {
    let proof = proof(&[0, 4], nodes);
    assert!(matches!(&proof, RowProof::Mixed(why) if why.starts_with("output `y`")), "{proof:?}");
}

#[track_caller]
fn is_separate(shape: &[i64], nodes: Vec<NodeProto>) {
    assert_eq!(proof(shape, nodes), RowProof::Separate);
}

#[track_caller]
fn is_mixed_of(shape: &[i64], nodes: Vec<NodeProto>) {
    let proof = proof(shape, nodes);
    assert!(matches!(proof, RowProof::Mixed(_)), "{proof:?}");
}
