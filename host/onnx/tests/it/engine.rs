//! What the engine computes for prepared models.

use rten::Value;
use rten_onnx::onnx::{
    DataType, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, TypeProtoTensor, ValueInfoProto,
};
use rten_tensor::Tensor;
use rten_tensor::prelude::*;

use crate::graphs::{With, input, ints, named as node, of_versions, run, value};

/// A model of the output `y`.
fn model(nodes: Vec<NodeProto>, inputs: Vec<ValueInfoProto>, constants: Vec<TensorProto>, versions: &[i64]) -> Vec<u8> {
    let graph = GraphProto {
        input: inputs,
        node: nodes,
        output: vec![value("y")],
        initializer: constants,
        ..GraphProto::default()
    };
    of_versions(graph, versions).write_buf().expect("written")
}

fn row(numbers: &[f32]) -> Value {
    Tensor::from_data(&[1, numbers.len()], numbers.to_vec()).into()
}

fn floats(value: &Value) -> Vec<f32> {
    let Value::FloatTensor(tensor) = value else { panic!("not FLOAT") };
    tensor.iter().copied().collect()
}

#[test]
fn nan_is_kept_by_reductions_of_every_length_and_place() {
    for operator in ["ReduceMax", "ReduceMin", "ReduceLogSumExp"] {
        let bytes =
            model(vec![node(operator, &["x"], &["y"], &[])], vec![input("x", DataType::FLOAT, 2)], vec![], &[17]);
        for length in [1, 2, 7, 8, 9, 16, 33] {
            for place in 0..length {
                let mut numbers = vec![1.0; length];
                numbers[length - 1] = f32::INFINITY;
                numbers[place] = f32::NAN;
                let result = run(bytes.clone(), &[("x", row(&numbers))]).expect("computed");
                assert!(floats(&result)[0].is_nan(), "{operator} {length} {place}");
            }
            let result = floats(&run(bytes.clone(), &[("x", row(&vec![2.0; length]))]).expect("computed"))[0];
            assert!(operator == "ReduceLogSumExp" || result == 2.0, "{operator} {length}: {result}");
        }
    }
}

#[test]
fn a_number_that_no_integer_is_does_not_pass_the_check_among_others() {
    let to = [("to", i64::from(DataType::INT32.0))];
    let bytes = model(vec![node("Cast", &["x"], &["y"], &to)], vec![input("x", DataType::FLOAT, 2)], vec![], &[17]);
    for length in [1, 8, 9, 40] {
        for place in 0..length {
            for bad in [f32::NAN, 3e9, f32::NEG_INFINITY] {
                let mut numbers = vec![1.0; length];
                numbers[place] = bad;
                let error = run(bytes.clone(), &[("x", row(&numbers))]).expect_err("refused");
                assert!(plimsoll_onnx::refused(&error).is_some(), "{length} {place}: {error}");
            }
        }
        assert!(run(bytes.clone(), &[("x", row(&vec![1.0; length]))]).is_ok());
    }
    assert!(run(bytes, &[("x", row(&[]))]).is_ok(), "no elements");
}

#[test]
fn shapes_of_powers_and_products() {
    let powers = vec![node("Pow", &["x", "two"], &["y"], &[])];
    let bytes = model(powers, vec![input("x", DataType::FLOAT, 2)], vec![ints("two", &[1, 1, 1], &[2])], &[17]);
    assert_eq!(run(bytes, &[("x", row(&[3.0]))]).expect("computed").shape().to_vec(), [1, 1, 1]);
    let products = vec![node("MatMul", &["v", "m"], &["y"], &[])];
    let bytes = model(products, vec![input("v", DataType::FLOAT, 1), input("m", DataType::FLOAT, 2)], vec![], &[17]);
    let vector: Value = Tensor::from_data(&[3], vec![1.0f32; 3]).into();
    let matrix: Value = Tensor::from_data(&[3, 0], Vec::<f32>::new()).into();
    assert_eq!(run(bytes, &[("v", vector), ("m", matrix)]).expect("computed").shape().to_vec(), [0]);
}

#[test]
fn sums_of_32_bits_fail_instead_of_wrapping() {
    for operator in ["ReduceSum", "ReduceProd", "ReduceL1", "ReduceSumSquare"] {
        let bytes =
            model(vec![node(operator, &["x"], &["y"], &[])], vec![input("x", DataType::INT32, 1)], vec![], &[17]);
        let large: Value = Tensor::from_data(&[2], vec![i32::MAX, i32::MAX]).into();
        let error = run(bytes.clone(), &[("x", large)]).expect_err("refused");
        assert!(error.contains("exceeds 32 bits at node `node_y`"), "{error}");
        let small: Value = Tensor::from_data(&[2], vec![2, 3]).into();
        assert!(run(bytes, &[("x", small)]).is_ok());
    }
}

#[test]
fn the_scale_of_zeros_is_one() {
    let nodes = vec![node("DynamicQuantizeLinear", &["x"], &["q", "y", "z"], &[])];
    let bytes = model(nodes, vec![input("x", DataType::FLOAT, 2)], vec![], &[17]);
    assert_eq!(floats(&run(bytes.clone(), &[("x", row(&[0.0, 0.0]))]).expect("computed")), [1.0]);
    assert_eq!(floats(&run(bytes, &[("x", row(&[0.0, 255.0]))]).expect("computed")), [1.0]);
}

#[test]
fn several_versions_of_the_operator_set_are_refused() {
    let of = |versions: &[i64]| {
        let nodes = vec![node("Softmax", &["x"], &["y"], &[])];
        run(model(nodes, vec![input("x", DataType::FLOAT, 2)], vec![], versions), &[("x", row(&[1.0]))])
    };
    assert!(of(&[11, 17]).err().is_some_and(|error| error.contains("several versions")));
    assert!(of(&[17, 17]).is_ok());
}

#[test]
fn relu_of_integers_and_a_slice_without_axes_are_computed() {
    let bytes = model(vec![node("Relu", &["x"], &["y"], &[])], vec![input("x", DataType::INT32, 1)], vec![], &[17]);
    let result = run(bytes, &[("x", Tensor::from_data(&[2], vec![-2, 3]).into())]).expect("computed");
    assert!(matches!(result, Value::Int32Tensor(tensor) if tensor.to_vec() == [0, 3]));
    let constants = vec![ints("start", &[1], &[0]), ints("end", &[1], &[1])];
    let nodes = vec![node("Slice", &["x", "start", "end"], &["y"], &[])];
    let bytes = model(nodes, vec![input("x", DataType::FLOAT, 2)], constants, &[17]);
    let result = run(bytes, &[("x", row(&[1.0, 2.0]))]).expect("computed");
    assert_eq!((result.shape().to_vec(), floats(&result)), (vec![1, 2], vec![1.0, 2.0]));
}

#[test]
fn what_exceeds_float16_becomes_infinite() {
    let nodes = vec![
        node("Cast", &["x"], &["half"], &[("to", i64::from(DataType::FLOAT16.0))]),
        node("Cast", &["half"], &["y"], &[("to", i64::from(DataType::FLOAT.0))]),
    ];
    let bytes = model(nodes, vec![input("x", DataType::FLOAT, 2)], vec![], &[17]);
    let result = floats(&run(bytes, &[("x", row(&[70_000.0, -1e9, 65_504.0, 0.0, f32::NAN]))]).expect("computed"));
    assert_eq!(result[..4], [f32::INFINITY, f32::NEG_INFINITY, 65_504.0, 0.0]);
    assert!(result[4].is_nan());
}

/// 2049 is 2048 in FLOAT16: another integer, and not larger than 2048.
#[test]
fn what_a_rounding_to_float16_decides_is_refused() {
    let to = |ty: DataType| [("to", i64::from(ty.0))];
    let half = || node("Cast", &["x"], &["half"], &to(DataType::FLOAT16));
    let number = || node("Cast", &["half"], &["number"], &to(DataType::FLOAT));
    let of = |ty: DataType, nodes: Vec<NodeProto>| {
        let bytes = model(nodes, vec![input("x", ty, 2)], vec![ints("shape", &[1], &[-1])], &[17]);
        plimsoll_onnx::prepare(bytes, &[]).err().map(|error| error.to_string())
    };
    let refused = |ty: DataType, nodes: Vec<NodeProto>| {
        let error = of(ty, nodes).expect("refused");
        assert!(error.contains("the rounding to FLOAT16 can decide") && error.contains("node_y"), "{error}");
    };
    let integer = |from: &str| node("Cast", &[from], &["y"], &to(DataType::INT64));
    refused(DataType::FLOAT, vec![half(), integer("half")]);
    refused(DataType::FLOAT, vec![half(), number(), integer("number")]);
    refused(DataType::FLOAT, vec![half(), node("Floor", &["half"], &["y"], &[])]);
    refused(DataType::FLOAT, vec![half(), node("Equal", &["half", "half"], &["y"], &[])]);
    refused(
        DataType::FLOAT,
        vec![half(), node("Reshape", &["half", "shape"], &["flat"], &[]), node("ArgMax", &["flat"], &["y"], &[])],
    );
    refused(DataType::FLOAT, vec![half(), node("OneHot", &["half", "shape", "half"], &["y"], &[])]);
    refused(DataType::FLOAT, vec![half(), node("QuantizeLinear", &["half", "half"], &["y"], &[])]);
    // A state of a loop, of the first round and of the others.
    let looped = |first: &str, next: NodeProto| {
        let round = vec![
            node("Identity", &["going"], &["goes_on"], &[]),
            node("Round", &["state"], &["y"], &[]),
            node("Cast", &["number"], &["other"], &to(DataType::FLOAT16)),
            next,
        ];
        let mut inner = crate::graphs::graph(&[], round, &["goes_on", "next"], vec![]);
        inner.input = vec![
            input("round", DataType::INT64, 0),
            input("going", DataType::BOOL, 0),
            input("state", DataType::FLOAT, 2),
        ];
        node("Loop", &["shape", "", first], &["last"], &[]).with(crate::graphs::body("body", inner))
    };
    let same = node("Identity", &["y"], &["next"], &[]);
    let other = node("Cast", &["other"], &["next"], &to(DataType::FLOAT));
    refused(DataType::FLOAT, vec![half(), number(), looped("number", same)]);
    refused(DataType::FLOAT, vec![node("Identity", &["x"], &["number"], &[]), looped("x", other)]);
    // Sums of FLOAT16 are rounded, too.
    refused(DataType::FLOAT16, vec![node("Add", &["x", "x"], &["sum"], &[]), integer("sum")]);
    assert_eq!(of(DataType::FLOAT16, vec![integer("x")]), None, "FLOAT16 has the numbers of the request");
    assert_eq!(of(DataType::FLOAT16, vec![node("Neg", &["x"], &["half"], &[]), integer("half")]), None);
    assert_eq!(of(DataType::BOOL, vec![half(), integer("half")]), None, "FLOAT16 has 0 and 1");
    assert_eq!(of(DataType::FLOAT, vec![half(), node("Cast", &["half"], &["y"], &to(DataType::FLOAT))]), None);
}

#[test]
fn the_last_parts_of_a_split_may_have_no_elements() {
    let names = ["a", "b", "c", "d"];
    for (length, expected) in [(6, [2, 2, 2, 0]), (9, [3, 3, 3, 0]), (1, [1, 0, 0, 0]), (0, [0; 4]), (8, [2; 4])] {
        for (part, expected) in names.iter().zip(expected) {
            let nodes = vec![
                node("Split", &["x"], &names, &[("axis", -1), ("num_outputs", 4)]),
                node("Identity", &[part], &["y"], &[]),
            ];
            let bytes = model(nodes, vec![input("x", DataType::FLOAT, 2)], vec![], &[18]);
            let result = run(bytes, &[("x", row(&vec![1.0; length]))]).expect("computed");
            assert_eq!(result.shape().to_vec(), [1, expected], "{part} of {length}");
        }
    }
}

#[test]
fn wrong_and_missing_element_types_are_refused() {
    let of = |change: fn(&mut GraphProto)| {
        let bytes = model(vec![node("Relu", &["x"], &["y"], &[])], vec![input("x", DataType::FLOAT, 2)], vec![], &[17]);
        let mut model = ModelProto::parse_buf(&bytes).expect("a model");
        change(model.graph.as_mut().expect("a graph"));
        plimsoll_onnx::prepare(model.write_buf().expect("written"), &[]).err().map(|error| error.to_string())
    };
    assert_eq!(of(|_| ()), None);
    assert_eq!(of(|graph| graph.output[0] = input("y", DataType::FLOAT, 2)), None);
    let error = of(|graph| graph.output[0] = input("y", DataType::INT64, 2)).expect("refused");
    assert!(
        error.contains("output `y`: the file declares the element type INT64, but the model computes FLOAT"),
        "{error}"
    );
    for change in [(|graph| graph.input[0].r#type = None) as fn(&mut GraphProto), |graph| {
        graph.input[0].r#type =
            Some(TypeProto { tensor_type: Some(TypeProtoTensor::default()), ..TypeProto::default() })
    }] {
        let error = of(change).expect("refused");
        assert!(error.contains("input `x`: the file declares no element type"), "{error}");
    }
}
