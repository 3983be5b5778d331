//! Which nodes OpenVINO computes differently.

use plimsoll_onnx::OpenVinoDifference::{self, *};
use plimsoll_onnx::prepare_onnxruntime;
use rten_onnx::onnx::{DataType, GraphProto, NodeProto, TensorProto, ValueInfoProto};

use crate::graphs::{With, file, floats, input, ints, list, named, value};

/// The differences of a model with the input `x` and these nodes.
fn found(
    x: ValueInfoProto,
    node: Vec<NodeProto>,
    initializer: Vec<TensorProto>,
    opset: i64,
) -> Vec<OpenVinoDifference> {
    let last = node.last().and_then(|node| node.output.first()).expect("a node").clone();
    let graph = GraphProto { input: vec![x], node, output: vec![value(&last)], initializer, ..GraphProto::default() };
    let prepared = prepare_onnxruntime(&file(graph, opset)).expect("accepted");
    prepared.openvino.into_iter().map(|node| node.difference).collect()
}

/// The differences of one node with the input `x` of a type.
fn of_node(
    ty: DataType,
    rank: usize,
    node: NodeProto,
    initializer: Vec<TensorProto>,
    opset: i64,
) -> Vec<OpenVinoDifference> {
    found(input("x", ty, rank), vec![node], initializer, opset)
}

#[test]
fn the_type_decides_about_arithmetic() {
    let twice = |operator: &str| named(operator, &["x", "x"], &["y"], &[]);
    for (ty, operator, expected) in [
        (DataType::UINT8, "Add", Some(Saturates)),
        (DataType::INT8, "Div", Some(Saturates)),
        (DataType::INT64, "Mul", Some(In32Bits)),
        (DataType::INT64, "Mod", Some(AsFloat)),
        (DataType::INT32, "Div", Some(AsFloat)),
        (DataType::INT32, "Mul", None),
        (DataType::FLOAT, "Div", None),
        (DataType::INT64, "Less", None),
    ] {
        let expected: Vec<_> = expected.into_iter().collect();
        assert_eq!(of_node(ty, 2, twice(operator), Vec::new(), 14), expected, "{operator} of {ty:?}");
    }
    assert!(Saturates.is_refused() && !In32Bits.is_refused());
}

#[test]
fn numbers_that_follow_from_sizes_alone_are_not_data() {
    let nodes = vec![
        named("Shape", &["x"], &["s"], &[]),
        named("Mul", &["s", "two"], &["t"], &[]),
        named("Div", &["t", "two"], &["u"], &[]),
        named("Reshape", &["x", "u"], &["y"], &[]),
    ];
    assert_eq!(found(input("x", DataType::FLOAT, 2), nodes, vec![ints("two", &[1], &[2])], 14), []);
}

#[test]
fn conversions_are_known_by_both_types() {
    let cast = |to: DataType| named("Cast", &["x"], &["y"], &[("to", i64::from(to.0))]);
    for (from, to, expected) in [
        (DataType::INT64, DataType::BOOL, Some(In32Bits)),
        (DataType::UINT8, DataType::BOOL, None),
        (DataType::FLOAT, DataType::INT64, Some(In32Bits)),
        (DataType::FLOAT, DataType::INT32, None),
        (DataType::INT32, DataType::UINT16, Some(DoesNotWrap)),
        (DataType::FLOAT, DataType::FLOAT16, Some(KeepsDigits)),
        (DataType::FLOAT16, DataType::FLOAT, None),
    ] {
        let expected: Vec<_> = expected.into_iter().collect();
        assert_eq!(of_node(from, 2, cast(to), Vec::new(), 14), expected, "{from:?} to {to:?}");
    }
}

#[test]
fn attributes_and_ranks_decide_about_the_others() {
    let float = |rank, node, initializer, opset| of_node(DataType::FLOAT, rank, node, initializer, opset);
    let softmax = |axis: i64| named("Softmax", &["x"], &["y"], &[("axis", axis)]);
    assert_eq!(float(3, softmax(1), Vec::new(), 11), [OneAxis]);
    assert_eq!(float(2, softmax(1), Vec::new(), 11), []);
    assert_eq!(float(3, softmax(-1), Vec::new(), 11), []);
    assert_eq!(float(3, softmax(1), Vec::new(), 13), []);
    let slope = |sizes: &[i64], values: &[f32]| vec![floats("s", sizes, values)];
    let prelu = || named("PRelu", &["x", "s"], &["y"], &[]);
    assert_eq!(float(3, prelu(), slope(&[2], &[0.1, 0.2]), 13), [TakesChannels]);
    assert_eq!(float(2, prelu(), slope(&[2], &[0.1, 0.2]), 13), []);
    assert_eq!(float(3, prelu(), slope(&[1], &[0.1]), 13), []);
    assert_eq!(float(3, prelu(), slope(&[2, 1], &[0.1, 0.2]), 13), []);
    let clip = |inputs: &[&str]| named("Clip", inputs, &["y"], &[]);
    let limits = || vec![ints("l", &[], &[1]), ints("h", &[], &[5])];
    assert_eq!(of_node(DataType::INT64, 1, clip(&["x", "l"]), limits(), 13), [LosesLimits]);
    assert_eq!(of_node(DataType::INT64, 1, clip(&["x", "l", "h"]), limits(), 13), []);
    let gather = |inputs: &[&str]| named("Gather", inputs, &["y"], &[]);
    assert_eq!(
        of_node(DataType::INT64, 1, gather(&["t", "x"]), vec![floats("t", &[2], &[1.0, 2.0])], 13),
        [GivesZeros]
    );
    assert_eq!(float(2, gather(&["x", "i"]), vec![ints("i", &[1], &[0])], 13), []);
    let tile = |inputs: &[&str]| named("Tile", inputs, &["y"], &[]);
    assert_eq!(of_node(DataType::INT64, 1, tile(&["x", "x"]), Vec::new(), 13), [ReturnsOther]);
    assert_eq!(float(1, tile(&["x", "two"]), vec![ints("two", &[1], &[2])], 13), []);
    let twice = named("Constant", &[], &["two"], &[]).with(list("value_ints", &[2]));
    assert_eq!(found(input("x", DataType::FLOAT, 1), vec![twice, tile(&["x", "two"])], Vec::new(), 13), []);
    // Of a constant, which is no data.
    let blocks = named("DequantizeLinear", &["w", "s"], &["y"], &[("axis", 0), ("block_size", 2)]);
    let weights = TensorProto {
        name: Some("w".into()),
        dims: vec![4],
        data_type: Some(DataType::INT8),
        int32_data: vec![1, 2, 3, 4],
        ..TensorProto::default()
    };
    let sum = named("Add", &["x", "y"], &["z"], &[]);
    let constants = vec![weights, floats("s", &[2], &[0.5, 0.25])];
    assert_eq!(found(input("x", DataType::FLOAT, 1), vec![blocks, sum], constants, 21), [IgnoresBlocks]);
}

/// `x / sqrt(mean(x²) + ε) · scale`
#[test]
fn a_short_root_mean_square_is_seen_by_its_scale() {
    let nodes = |square: NodeProto| {
        vec![
            square,
            named("ReduceMean", &["p", "axes"], &["m"], &[]),
            named("Add", &["m", "e"], &["a"], &[]),
            named("Sqrt", &["a"], &["r"], &[]),
            named("Div", &["x", "r"], &["n"], &[]),
            named("Mul", &["n", "scale"], &["y"], &[]),
        ]
    };
    let constants = |length: usize| {
        vec![
            floats("two", &[], &[2.0]),
            floats("e", &[], &[0.001]),
            ints("axes", &[1], &[-1]),
            floats("scale", &[length as i64], &vec![1.0; length]),
        ]
    };
    let of =
        |square: NodeProto, length: usize| found(input("x", DataType::FLOAT, 2), nodes(square), constants(length), 18);
    for square in [named("Pow", &["x", "two"], &["p"], &[]), named("Mul", &["x", "x"], &["p"], &[])] {
        assert_eq!(of(square.clone(), 8), [EndsProcess]);
        assert_eq!(of(square.clone(), 15), [EndsProcess]);
        assert_eq!(of(square, 16), []);
    }
}
