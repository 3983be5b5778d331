//! Numbers in which one bit decides, and integers that wrap.

use rten::Value;
use rten_onnx::onnx::{DataType, GraphProto, NodeProto, TensorProto, ValueInfoProto};
use rten_tensor::Tensor;
use rten_tensor::prelude::*;

use crate::graphs::{file, floats, input, ints, named, run, value};

fn model(inputs: Vec<ValueInfoProto>, node: Vec<NodeProto>, initializer: Vec<TensorProto>) -> Vec<u8> {
    file(GraphProto { input: inputs, node, output: vec![value("y")], initializer, ..GraphProto::default() }, 17)
}

/// Two numbers whose quotients by 49 differ, but are equal if they are multiplied by the inverse.
fn equal_only_by_the_inverse(divisor: f32) -> [f32; 2] {
    let inverse = 1.0 / divisor;
    let numbers = (1..1_000_000u32).map(|bits| f32::from_bits(1.6f32.to_bits() + bits));
    let next = |number: f32| f32::from_bits(number.to_bits() + 1);
    let found = numbers.into_iter().find(|&x| x * inverse == next(x) * inverse && x / divisor < next(x) / divisor);
    found.map(|x| [x, next(x)]).expect("such numbers")
}

#[test]
fn a_division_is_exact_before_a_choice() {
    let pair = equal_only_by_the_inverse(49.0);
    for operator in ["ArgMax", "TopK"] {
        let mut nodes = vec![named("Div", &["x", "divisor"], &["ratio"], &[])];
        match operator {
            "TopK" => nodes.push(named("TopK", &["ratio", "one"], &["largest", "y"], &[])),
            _ => nodes.push(named(operator, &["ratio"], &["y"], &[("axis", 0), ("keepdims", 0)])),
        }
        let constants = vec![floats("divisor", &[], &[49.0]), ints("one", &[1], &[1])];
        let bytes = model(vec![input("x", DataType::FLOAT, 1)], nodes, constants);
        let x = Tensor::from_data(&[2], pair.to_vec()).into();
        let Value::Int32Tensor(place) = run(bytes, &[("x", x)]).expect("computed") else { panic!("not an integer") };
        assert_eq!(place.iter().copied().collect::<Vec<_>>(), [1], "{operator}");
    }
}

#[test]
fn a_divisor_without_an_exact_inverse_in_float_divides() {
    for (number, divisor) in [(1e-39f32, 1e-39f32), (0.0, 1e-39), (1e38, 3e38)] {
        let nodes = vec![named("Div", &["x", "divisor"], &["y"], &[])];
        let bytes = model(vec![input("x", DataType::FLOAT, 1)], nodes, vec![floats("divisor", &[], &[divisor])]);
        let x = Tensor::from_data(&[2], vec![number; 2]).into();
        let Value::FloatTensor(ratio) = run(bytes, &[("x", x)]).expect("computed") else { panic!("not FLOAT") };
        assert_eq!(ratio.iter().copied().collect::<Vec<_>>(), [number / divisor; 2], "{number} / {divisor}");
    }
}

/// The least integer divided by −1 would make the engine panic.
#[test]
fn integers_that_wrap_are_not_taken_as_positive() {
    for operator in ["Abs", "Mul", "Add"] {
        let first = match operator {
            "Abs" => named("Abs", &["x"], &["z"], &[]),
            "Mul" => named("Mul", &["x", "x"], &["z"], &[]),
            _ => named("Add", &["one", "big"], &["z"], &[]),
        };
        let int32 = |name: &str, value: i32| TensorProto {
            name: Some(name.into()),
            data_type: Some(DataType::INT32),
            int32_data: vec![value],
            ..TensorProto::default()
        };
        let nodes = vec![named("Abs", &["x"], &["one"], &[]), first, named("Div", &["z", "minus"], &["y"], &[])];
        let inputs = vec![input("x", DataType::INT32, 1), input("minus", DataType::INT32, 1)];
        let bytes = model(inputs, nodes, vec![int32("big", i32::MAX)]);
        let x = match operator {
            "Abs" => i32::MIN,
            "Mul" => 46_341,
            _ => 1,
        };
        let list = |value: i32| Value::from(Tensor::from_data(&[1], vec![value]));
        let Value::Int32Tensor(y) = run(bytes, &[("x", list(x)), ("minus", list(-1))]).expect("computed") else {
            panic!("not an integer")
        };
        let z = match operator {
            "Abs" => x.wrapping_abs(),
            "Mul" => x.wrapping_mul(x),
            _ => x.wrapping_abs().wrapping_add(i32::MAX),
        };
        assert_eq!(y.iter().copied().collect::<Vec<_>>(), [z.wrapping_neg()], "{operator}");
    }
}

#[test]
fn a_byte_that_becomes_negative_is_not_taken_as_positive() {
    let to = |ty: DataType| [("to", i64::from(ty.0))];
    let nodes = vec![
        named("Cast", &["x"], &["signed"], &to(DataType::INT8)),
        named("Cast", &["signed"], &["number"], &to(DataType::FLOAT)),
        named("Sqrt", &["number"], &["root"], &[]),
        named("Relu", &["root"], &["y"], &[]),
    ];
    let bytes = model(vec![input("x", DataType::UINT8, 1)], nodes, vec![]);
    let x = Tensor::from_data(&[2], vec![200u8, 4]).into();
    let Value::FloatTensor(y) = run(bytes, &[("x", x)]).expect("computed") else { panic!("not FLOAT") };
    let y: Vec<f32> = y.iter().copied().collect();
    assert!(y[0].is_nan() && y[1] == 2.0, "{y:?}");
}
