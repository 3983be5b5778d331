//! Operators of operator sets before 7, which the engine reads as newer ones.

use rten::Value;
use rten_onnx::onnx::{AttributeProto, DataType, GraphProto, NodeProto, TensorProto};
use rten_tensor::Tensor;
use rten_tensor::prelude::*;

use crate::graphs::{file, floats, input, int, list, named, run, text, value};

/// A model of one node, whose first input is `x`.
fn model(
    operator: &str,
    attributes: Vec<AttributeProto>,
    constants: Vec<TensorProto>,
    rank: usize,
    opset: i64,
) -> Vec<u8> {
    let mut inputs = vec!["x"];
    inputs.extend(constants.iter().filter_map(|constant| constant.name.as_deref()));
    let node = NodeProto { attribute: attributes, ..named(operator, &inputs, &["y"], &[]) };
    let graph = GraphProto {
        input: vec![input("x", DataType::FLOAT, rank)],
        node: vec![node],
        output: vec![value("y")],
        initializer: constants,
        ..GraphProto::default()
    };
    file(graph, opset)
}

fn zeros(shape: &[usize]) -> Value {
    Tensor::from_data(shape, vec![0.0f32; shape.iter().product()]).into()
}

fn numbers(value: &Value) -> Vec<f32> {
    let Value::FloatTensor(tensor) = value else { panic!("not FLOAT") };
    tensor.iter().copied().collect()
}

#[test]
fn values_are_broadcast_from_the_axis_that_an_attribute_states() {
    for (axis, expected) in [
        (None, [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0]),
        (Some(2), [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0]),
        (Some(-1), [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0]),
        (Some(1), [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]),
        (Some(0), [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0]),
    ] {
        let mut attributes = vec![int("broadcast", 1)];
        attributes.extend(axis.map(|axis| int("axis", axis)));
        let bytes = model("Add", attributes, vec![floats("b", &[2], &[1.0, 2.0])], 3, 6);
        let result = run(bytes, &[("x", zeros(&[2, 2, 2]))]).unwrap_or_else(|error| panic!("{axis:?}: {error}"));
        assert_eq!(numbers(&result), expected, "{axis:?}");
    }
    for axis in [3, -4, i64::from(i32::MIN)] {
        let attributes = vec![int("broadcast", 1), int("axis", axis)];
        let error =
            run(model("Add", attributes, vec![floats("b", &[2], &[1.0, 2.0])], 3, 6), &[]).expect_err("refused");
        assert!(error.contains("node `node_y` (Add, operator set 6)") && error.contains("cannot broadcast"), "{error}");
    }
    let second = vec![floats("b", &[2], &[1.0, 2.0])];
    let absurd = model("Add", vec![int("broadcast", 1), int("axis", i64::MIN)], second, 3, 6);
    let error = run(absurd, &[]).expect_err("refused");
    assert!(error.contains("node `node_y` (Add): `axis` contains -9223372036854775808"), "{error}");
}

#[test]
fn a_slope_of_an_old_prelu_is_that_of_a_channel() {
    let slopes = || vec![floats("s", &[2], &[1.0, 2.0])];
    let x = || Value::from(Tensor::from_data(&[1, 2, 2], vec![-1.0f32; 4]));
    let of = |opset: i64| numbers(&run(model("PRelu", vec![], slopes(), 3, opset), &[("x", x())]).expect("computed"));
    assert_eq!(of(6), [-1.0, -1.0, -2.0, -2.0]);
    assert_eq!(of(7), [-1.0, -2.0, -1.0, -2.0]);
}

#[test]
fn the_statistics_of_an_old_normalization_are_those_of_the_file() {
    let parts = || ["s", "b", "m", "v"].map(|name| floats(name, &[1], &[1.0])).to_vec();
    let of = |attributes: Vec<AttributeProto>| {
        run(model("BatchNormalization", attributes, parts(), 2, 6), &[("x", zeros(&[2, 1]))])
    };
    let result = numbers(&of(vec![int("is_test", 1), list("consumed_inputs", &[0, 0, 0, 1, 1])]).expect("computed"));
    assert!(result.iter().all(|number| number.abs() < 1e-3), "{result:?}");
    assert!(of(vec![]).expect_err("refused").contains("`is_test` is not set"));
}

#[test]
fn old_operators_that_differ_are_refused_by_name() {
    let cases = [
        ("AveragePool", vec![list("kernel_shape", &[2, 2]), list("pads", &[1, 0, 0, 0])], 6),
        ("Dropout", vec![], 6),
        ("Upsample", vec![], 6),
        ("Pad", vec![list("paddings", &[0; 8])], 1),
        ("Pad", vec![text("mode", "reflect")], 2),
        ("Cast", vec![int("to", 1)], 5),
    ];
    for (operator, attributes, opset) in cases {
        let error = run(model(operator, attributes, vec![], 4, opset), &[]).expect_err(operator);
        assert!(error.contains(&format!("node `node_y` ({operator}, operator set {opset})")), "{error}");
    }
}
