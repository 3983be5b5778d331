//! Divisions by zeros whose sign the engine may compute differently: the request is refused, and not answered with the other
//! infinity.

use rten::Value;
use rten_onnx::onnx::{DataType, GraphProto, NodeProto, TensorProto};
use rten_tensor::Tensor;
use rten_tensor::prelude::*;

use crate::graphs::{file, floats, input, named, run, value};

fn model(nodes: Vec<NodeProto>) -> Vec<u8> {
    let initializer: Vec<TensorProto> = vec![
        floats("zero", &[], &[0.0]),
        floats("six", &[], &[6.0]),
        floats("small", &[], &[1e-9]),
        floats("less", &[], &[-1.0]),
        floats("two", &[], &[2.0]),
    ];
    let input = vec![input("x", DataType::FLOAT, 1)];
    file(GraphProto { input, node: nodes, output: vec![value("y")], initializer, ..GraphProto::default() }, 17)
}

fn divided(nodes: &[NodeProto], x: &[f32]) -> Result<Vec<f32>, String> {
    let x = Tensor::from_data(&[x.len()], x.to_vec()).into();
    match run(model(nodes.to_vec()), &[("x", x)]) {
        Ok(Value::FloatTensor(y)) => Ok(y.iter().copied().collect()),
        Ok(_) => panic!("not FLOAT"),
        Err(error) => Err(plimsoll_onnx::refused(&error).unwrap_or(error)),
    }
}

fn reciprocal(inner: NodeProto) -> [NodeProto; 2] {
    [inner, named("Reciprocal", &["r"], &["y"], &[])]
}

#[test]
fn a_division_by_a_zero_of_unknown_sign_is_refused() {
    let cases = [
        reciprocal(named("Relu", &["x"], &["r"], &[])),
        reciprocal(named("Clip", &["x", "zero", "six"], &["r"], &[])),
        reciprocal(named("Add", &["x", "zero"], &["r"], &[])),
        reciprocal(named("Max", &["x", "zero"], &["r"], &[])),
        reciprocal(named("Min", &["x", "zero"], &["r"], &[])),
        reciprocal(named("Tanh", &["x"], &["r"], &[])),
        reciprocal(named("ReduceSum", &["x"], &["r"], &[])),
        [named("Relu", &["x"], &["r"], &[]), named("Div", &["two", "r"], &["y"], &[])],
        [named("Relu", &["x"], &["r"], &[]), named("Pow", &["r", "less"], &["y"], &[])],
    ];
    for nodes in cases {
        let operator = nodes[0].op_type.clone().unwrap_or_default();
        let error = divided(&nodes, &[-0.0]).expect_err(&operator);
        assert!(error.contains("node `node_y` divides by a zero whose sign"), "{operator}: {error}");
        // Other numbers are divided by.
        let other = if operator == "Min" { -2.0 } else { 2.0 };
        assert!(divided(&nodes, &[other]).is_ok(), "{operator}");
    }
}

#[test]
fn a_zero_whose_sign_is_known_is_divided_by() {
    let infinite = f32::INFINITY;
    let cases = [
        (reciprocal(named("Neg", &["x"], &["r"], &[])), [-infinite, infinite]),
        (reciprocal(named("Abs", &["x"], &["r"], &[])), [infinite, infinite]),
        (reciprocal(named("Mul", &["x", "two"], &["r"], &[])), [infinite, -infinite]),
        (reciprocal(named("Mul", &["x", "x"], &["r"], &[])), [infinite, infinite]),
        (reciprocal(named("LeakyRelu", &["x"], &["r"], &[])), [infinite, -infinite]),
        // Never 0.
        (reciprocal(named("Clip", &["x", "small"], &["r"], &[])), [1e9, 1e9]),
        (reciprocal(named("Max", &["x", "small"], &["r"], &[])), [1e9, 1e9]),
        (reciprocal(named("Exp", &["x"], &["r"], &[])), [1.0, 1.0]),
    ];
    for (nodes, right) in cases {
        let operator = nodes[0].op_type.clone().unwrap_or_default();
        assert_eq!(divided(&nodes, &[0.0, -0.0]), Ok(right.to_vec()), "{operator}");
    }
}

/// A check would keep the engine from joining the nodes of a normalization or a softmax.
#[test]
fn normalizations_are_not_checked() {
    let normalized = [
        named("ReduceMean", &["x"], &["mean"], &[]),
        named("Sub", &["x", "mean"], &["centred"], &[]),
        named("Pow", &["centred", "two"], &["square"], &[]),
        named("ReduceMean", &["square"], &["variance"], &[]),
        named("Add", &["variance", "small"], &["sum"], &[]),
        named("Sqrt", &["sum"], &["root"], &[]),
        named("Div", &["centred", "root"], &["y"], &[]),
    ];
    let softmax = [
        named("ReduceMax", &["x"], &["most"], &[]),
        named("Sub", &["x", "most"], &["differences"], &[]),
        named("Exp", &["differences"], &["powers"], &[]),
        named("ReduceSum", &["powers"], &["sum"], &[]),
        named("Div", &["powers", "sum"], &["y"], &[]),
    ];
    for nodes in [normalized.to_vec(), softmax.to_vec()] {
        let prepared = plimsoll_onnx::prepare(model(nodes), &[]).unwrap_or_else(|error| panic!("{error}"));
        let is_checked = prepared.bytes.windows(14).any(|part| part == b"plimsoll.zero:");
        assert!(!is_checked);
    }
}
