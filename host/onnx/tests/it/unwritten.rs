//! Attributes whose zero is not written, as writers of proto3 leave them out: they are 0, and not the default of the operator.

use plimsoll_onnx::{RowProof, prove_rows};
use rten::Value;
use rten_onnx::onnx::{AttributeProto, AttributeType, DataType, GraphProto, NodeProto, TensorProto};
use rten_tensor::Tensor;
use rten_tensor::prelude::*;

use crate::graphs::{With, body, file, floats, graph, input, named, run, shaped, value};

/// An attribute without its value.
fn unwritten(name: &str, ty: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.into()), r#type: Some(ty), ..AttributeProto::default() }
}

fn zero(name: &str) -> AttributeProto {
    unwritten(name, AttributeType::INT)
}

fn model(node: NodeProto, constants: Vec<TensorProto>, opset: i64) -> Vec<u8> {
    let graph = GraphProto {
        input: vec![input("x", DataType::FLOAT, 2)],
        node: vec![node],
        output: vec![value("y")],
        initializer: constants,
        ..GraphProto::default()
    };
    file(graph, opset)
}

fn matrix(numbers: [f32; 4]) -> Value {
    Tensor::from_data(&[2, 2], numbers.to_vec()).into()
}

#[test]
fn an_integer_that_is_not_written_is_zero() {
    let of = |bytes: Vec<u8>, numbers: [f32; 4]| run(bytes, &[("x", matrix(numbers))]).expect("computed");
    let softmax = || named("Softmax", &["x"], &["y"], &[]).with(zero("axis"));
    let Value::FloatTensor(found) = of(model(softmax(), vec![], 11), [0.0; 4]) else { panic!("not FLOAT") };
    assert_eq!(found.to_vec(), [0.25; 4]);
    let quantize = named("QuantizeLinear", &["x", "scale"], &["y"], &[]).with(zero("axis"));
    let bytes = model(quantize, vec![floats("scale", &[2], &[1.0, 2.0])], 13);
    let Value::UInt8Tensor(found) = of(bytes, [4.0; 4]) else { panic!("not UINT8") };
    assert_eq!(found.to_vec(), [4, 4, 2, 2]);
    let shape = named("Shape", &["x"], &["y"], &[]).with(zero("end"));
    assert_eq!(of(model(shape, vec![], 15), [0.0; 4]).shape().to_vec(), [0]);
    // In a graph of a node, too.
    let branch = |name: &str| {
        body(name, graph(&[], vec![named("Softmax", &["x"], &["z"], &[]).with(zero("axis"))], &["z"], vec![]))
    };
    let choice = named("If", &["choice"], &["y"], &[]).with(branch("then_branch")).with(branch("else_branch"));
    let graph = GraphProto {
        input: vec![input("x", DataType::FLOAT, 2), shaped("choice", DataType::BOOL, &[])],
        node: vec![choice],
        output: vec![value("y")],
        ..GraphProto::default()
    };
    let choice: Value = Tensor::from_data(&[0_usize; 0][..], vec![1]).into();
    let found = run(file(graph, 11), &[("x", matrix([0.0; 4])), ("choice", choice)]).expect("computed");
    let Value::FloatTensor(found) = found else { panic!("not FLOAT") };
    assert_eq!(found.to_vec(), [0.25; 4]);
}

#[test]
fn what_the_engine_does_not_support_is_refused_if_it_is_not_written() {
    let node = named("IsInf", &["x"], &["y"], &[]).with(zero("detect_positive"));
    let error = plimsoll_onnx::prepare(model(node, vec![], 17), &[]).err().expect("refused").to_string();
    assert!(error.contains("node_y") && error.contains("detect_positive"), "{error}");
}

#[test]
fn a_number_and_a_text_that_are_not_written_are_zero_and_empty() {
    let node = named("LeakyRelu", &["x"], &["y"], &[]).with(unwritten("alpha", AttributeType::FLOAT));
    let found = run(model(node, vec![], 17), &[("x", matrix([-1.0, -2.0, 1.0, 2.0]))]).expect("computed");
    let Value::FloatTensor(found) = found else { panic!("not FLOAT") };
    assert_eq!(found.iter().map(|number| number.abs()).collect::<Vec<_>>(), [0.0, 0.0, 1.0, 2.0]);
    let node = named("Resize", &["x", "", "scales"], &["y"], &[]).with(unwritten("mode", AttributeType::STRING));
    let bytes = model(node, vec![floats("scales", &[2], &[1.0, 2.0])], 13);
    assert!(plimsoll_onnx::prepare(bytes, &[]).is_err(), "no mode has an empty name");
}

#[test]
fn rows_that_an_unwritten_axis_joins_are_not_independent() {
    for opset in [11, 13] {
        let proof = |node: NodeProto| prove_rows(&model(node, vec![], opset));
        assert_eq!(proof(named("Softmax", &["x"], &["y"], &[("axis", 1)])), RowProof::Separate);
        let node = named("Softmax", &["x"], &["y"], &[]).with(zero("axis"));
        assert!(matches!(proof(node), RowProof::Mixed(_)), "opset {opset}");
    }
}
