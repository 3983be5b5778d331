//! Numbers that a conversion changes: DOUBLE to FLOAT, integers to FLOAT, FLOAT to integers, and bits.

use rten::Value;
use rten_onnx::onnx::{DataType, GraphProto, NodeProto, TensorProto, ValueInfoProto};
use rten_tensor::Tensor;
use rten_tensor::prelude::*;

use crate::graphs::{file, floats, input, ints, named, run, value};

fn model(inputs: Vec<ValueInfoProto>, node: Vec<NodeProto>, initializer: Vec<TensorProto>, opset: i64) -> Vec<u8> {
    file(GraphProto { input: inputs, node, output: vec![value("y")], initializer, ..GraphProto::default() }, opset)
}

fn numbers(value: &Value) -> Vec<f32> {
    let Value::FloatTensor(tensor) = value else { panic!("not FLOAT") };
    tensor.iter().copied().collect()
}

fn integers(value: &Value) -> Vec<i32> {
    let Value::Int32Tensor(tensor) = value else { panic!("no integers") };
    tensor.iter().copied().collect()
}

fn list<T: 'static>(numbers: Vec<T>) -> Value
where
    Value: From<Tensor<T>>,
{
    let count = numbers.len();
    Tensor::from_data(&[count], numbers).into()
}

#[test]
fn constants_of_double_that_float_does_not_have_are_not_converted_to_integers() {
    let of = |numbers: Vec<f64>, ty: DataType, is_like: bool| {
        let constant = TensorProto {
            name: Some("c".into()),
            dims: vec![numbers.len() as i64],
            data_type: Some(DataType::DOUBLE),
            double_data: numbers,
            ..TensorProto::default()
        };
        let cast = match is_like {
            true => named("CastLike", &["c", "x"], &["number"], &[]),
            false => named("Cast", &["c"], &["number"], &[("to", i64::from(ty.0))]),
        };
        let (inputs, nodes) = match ty {
            DataType::BOOL => (vec![], vec![cast, named("Not", &["number"], &["y"], &[])]),
            _ => (vec![input("x", ty, 1)], vec![cast, named("Add", &["number", "x"], &["y"], &[])]),
        };
        plimsoll_onnx::prepare(model(inputs, nodes, vec![constant], 17), &[]).err().map(|error| error.to_string())
    };
    for is_like in [false, true] {
        for number in [16_777_217.0, 2.999_999_999_9] {
            let error = of(vec![1.0, number], DataType::INT64, is_like).expect("refused");
            assert!(error.contains("node_number") && error.contains("DOUBLE as FLOAT"), "{error}");
        }
        assert_eq!(of(vec![3.0, -2.5], DataType::INT64, is_like), None);
        assert_eq!(of(vec![0.1], DataType::FLOAT, is_like), None, "FLOAT is rounded once");
    }
    assert!(of(vec![1e-50], DataType::BOOL, false).is_some());
    assert!(of(vec![0.1], DataType::FLOAT16, false).is_some(), "rounded twice");
    assert!(of(vec![3.0; 65], DataType::INT64, false).is_some(), "not read");
}

#[test]
fn a_quotient_of_another_type_than_float_is_not_quantised() {
    let of = |scale: DataType, precision: i64| {
        let nodes = vec![named("QuantizeLinear", &["x", "scale"], &["y"], &[("precision", precision)])];
        let inputs = vec![input("x", DataType::FLOAT, 1), input("scale", scale, 0)];
        plimsoll_onnx::prepare(model(inputs, nodes, vec![], 23), &[]).err().map(|error| error.to_string())
    };
    assert_eq!(of(DataType::FLOAT, 0), None);
    assert_eq!(of(DataType::FLOAT, i64::from(DataType::FLOAT.0)), None);
    // In FLOAT16, 1 / 0.023 is 43.5, which becomes 44.
    for (scale, precision) in [(DataType::FLOAT, DataType::FLOAT16.0), (DataType::FLOAT16, 0)] {
        let error = of(scale, precision.into()).expect("refused");
        assert!(error.contains("node_y") && error.contains("divides in another type"), "{error}");
    }
}

#[test]
fn integers_with_the_bits_of_nan_are_nan() {
    let nodes = vec![
        named("BitCast", &["x"], &["float"], &[("to", i64::from(DataType::FLOAT.0))]),
        named("Relu", &["float"], &["y"], &[]),
    ];
    let bytes = model(vec![input("x", DataType::INT32, 1)], nodes, vec![], 26);
    let found = numbers(&run(bytes, &[("x", list(vec![0x7FC0_0000, 0x3F80_0000]))]).expect("computed"));
    assert!(found[0].is_nan() && found[1] == 1.0, "{found:?}");
}

#[test]
fn a_diagonal_far_away_keeps_or_removes_all() {
    for (k, is_upper, kept) in
        [(i32::MAX, 0, 1.0), (i32::MAX, 1, 0.0), (i32::MIN, 1, 1.0), (i32::MIN, 0, 0.0), (1, 0, 1.0), (-1, 1, 1.0)]
    {
        let node = || vec![named("Trilu", &["x", "k"], &["y"], &[("upper", is_upper)])];
        let ones: Value = Tensor::from_data(&[2, 2], vec![1.0f32; 4]).into();
        let inputs = || vec![input("x", DataType::FLOAT, 2)];
        let bytes = model(inputs(), node(), vec![ints("k", &[], &[k.into()])], 14);
        assert_eq!(numbers(&run(bytes, &[("x", ones.clone())]).expect("computed")), [kept; 4], "{k} {is_upper}");
        let bytes = model([inputs(), vec![input("k", DataType::INT64, 0)]].concat(), node(), vec![], 14);
        let given: Value = Tensor::from_data(&[0_usize; 0][..], vec![k]).into();
        let found = numbers(&run(bytes, &[("x", ones), ("k", given)]).expect("computed"));
        assert_eq!(found, [kept; 4], "{k} {is_upper} of a request");
    }
}

#[test]
fn an_index_that_no_integer_is_does_not_pass() {
    let nodes = vec![named("OneHot", &["x", "depth", "both"], &["y"], &[])];
    let constants = vec![ints("depth", &[], &[3]), floats("both", &[2], &[0.0, 1.0])];
    let bytes = model(vec![input("x", DataType::FLOAT, 1)], nodes, constants, 13);
    for bad in [f32::NAN, 3e9, f32::NEG_INFINITY] {
        let error = run(bytes.clone(), &[("x", list(vec![1.0, bad]))]).expect_err("refused");
        assert!(error.contains("node_y") && plimsoll_onnx::refused(&error).is_some(), "{bad}: {error}");
    }
    let found = numbers(&run(bytes, &[("x", list(vec![1.0, -1.0, 3.0]))]).expect("computed"));
    assert_eq!(found, [0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
}

/// FLOAT has no odd numbers beyond 2²⁴.
#[test]
fn an_exponent_that_float_does_not_have_is_refused() {
    let of = |is_constant: bool, exponent: i32| {
        let nodes = vec![named("Pow", &["x", "e"], &["y"], &[])];
        let mut inputs = vec![input("x", DataType::FLOAT, 1)];
        let mut given = vec![("x", list(vec![-1.0f32; 2]))];
        let mut constants = vec![];
        if is_constant {
            constants.push(ints("e", &[2], &[exponent.into(); 2]));
        } else {
            inputs.push(input("e", DataType::INT64, 1));
            given.push(("e", list(vec![exponent; 2])));
        }
        run(model(inputs, nodes, constants, 15), &given).map(|found| numbers(&found)[0])
    };
    for is_constant in [false, true] {
        assert_eq!(of(is_constant, 16_777_215), Ok(-1.0));
        assert_eq!(of(is_constant, 3), Ok(-1.0));
        for exponent in [16_777_217, -16_777_217, i32::MAX] {
            let error = of(is_constant, exponent).expect_err("refused");
            assert!(error.contains("an exponent exceeds 24 bits at node `node_y`"), "{error}");
        }
    }
}

/// The checks of a model.
fn checks(bytes: Vec<u8>) -> usize {
    let prepared = plimsoll_onnx::prepare(bytes, &[]).unwrap_or_else(|error| panic!("{error}"));
    let graph = rten_onnx::onnx::ModelProto::parse_buf(&prepared.bytes).expect("a model").graph.expect("a graph");
    let names = graph.node.iter().filter_map(|node| node.name.as_deref());
    names.filter(|name| name.contains("an integer exceeds 32 bits at node `node_y`")).count()
}

#[test]
fn sums_of_the_largest_values_are_checked() {
    for (most, is_checked) in [(7, false), (8, true), (29, true)] {
        let nodes = vec![
            named("Clip", &["x", "low", "high"], &["clipped"], &[]),
            named("Expand", &["clipped", "shape"], &["large"], &[]),
            named("ReduceSum", &["large"], &["y"], &[("keepdims", 0)]),
        ];
        let constants = vec![ints("low", &[], &[0]), ints("high", &[], &[most]), ints("shape", &[2], &[16_384, 8_192])];
        let found = checks(model(vec![input("x", DataType::INT64, 2)], nodes, constants, 13));
        assert_eq!(found > 0, is_checked, "{most}");
    }
}

/// The sum in FLOAT stands still at 2³⁰, where the next number is 128 larger.
#[test]
fn a_sum_that_stands_still_in_float_is_refused() {
    let constants = || vec![ints("zero", &[], &[0]), ints("count", &[1], &[17_200_000]), ints("big", &[1], &[1 << 30])];
    let many = || {
        vec![
            named("Expand", &["x", "count"], &["many"], &[]),
            named("Concat", &["big", "many"], &["all"], &[("axis", 0)]),
        ]
    };
    let sum =
        [many(), vec![named("CumSum", &["all", "zero"], &["sums"], &[]), named("ReduceMin", &["sums"], &["y"], &[])]];
    // The check is that of the sum.
    let bytes = model(vec![input("x", DataType::INT64, 1)], sum.concat(), constants(), 13);
    let error = run(bytes, &[("x", list(vec![63]))]).expect_err("refused");
    assert!(error.contains("an integer exceeds 32 bits at node `node_sums`"), "{error}");
}

#[test]
fn sums_of_many_small_numbers_are_computed() {
    let shape = || vec![ints("shape", &[2], &[3, 1_100_000]), ints("axes", &[1], &[1]), ints("one", &[], &[1])];
    for (node, x, expected) in [
        (named("ReduceSum", &["large", "axes"], &["y"], &[("keepdims", 0)]), 1_000, Some(1_100_000_000)),
        (named("ReduceSum", &["large", "axes"], &["y"], &[("keepdims", 0)]), 1_900, None),
        (named("CumSum", &["large", "one"], &["y"], &[]), 1_000, Some(1_000)),
        (named("CumSum", &["large", "one"], &["y"], &[]), 1_900, None),
    ] {
        let nodes = vec![named("Expand", &["x", "shape"], &["large"], &[]), node];
        let bytes = model(vec![input("x", DataType::INT64, 2)], nodes, shape(), 13);
        let given: Value = Tensor::from_data(&[1, 1], vec![x]).into();
        let found = run(bytes, &[("x", given)]);
        match expected {
            Some(expected) => assert_eq!(integers(&found.expect("computed"))[0], expected),
            None => assert!(found.expect_err("refused").contains("an integer exceeds 32 bits at node `node_y`")),
        }
    }
}
