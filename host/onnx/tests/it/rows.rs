//! The proof that the rows of a batch do not depend on each other: values that mix rows through branches, loops, functions,
//! sequences and unknown operators, and the graphs of exporters, which must stay proven.

mod functions;
mod mixed;
mod places;
mod proven;

use plimsoll_onnx::{RowProof, prove_rows};
use rten_onnx::onnx::{AttributeProto, DataType, GraphProto, ModelProto, NodeProto, TensorProto};

use crate::graphs::{self, With, int, list, node, of_versions, text, value};

/// A body whose values have no types.
fn body(name: &str, inputs: &[&str], nodes: Vec<NodeProto>, outputs: &[&str]) -> AttributeProto {
    graphs::body(name, graphs::graph(inputs, nodes, outputs, Vec::new()))
}

/// A constant of integers: a scalar if there is one number and `name` begins with `i`.
fn ints(name: &str, values: &[i64]) -> TensorProto {
    let dims = if name.starts_with('i') { Vec::new() } else { vec![values.len() as i64] };
    graphs::ints(name, &dims, values)
}

fn floats(name: &str, shape: &[i64]) -> TensorProto {
    graphs::floats(name, shape, &vec![0.5; shape.iter().product::<i64>() as usize])
}

/// A model of the input `x` with this shape and the output `y`; a size of 0 is dynamic.
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
    let sizes: Vec<Option<i64>> = shape.iter().map(|&size| Some(size).filter(|&size| size > 0)).collect();
    let graph = GraphProto {
        input: vec![graphs::shaped("x", DataType::FLOAT, &sizes)],
        node: nodes,
        output: vec![value("y")],
        initializer,
        ..GraphProto::default()
    };
    of_versions(graph, &[17])
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
