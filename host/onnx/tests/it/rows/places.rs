//! Axes, scales and bounds that are not what they seem: each of these graphs passes the comparison of rows with random
//! numbers, if what mixes them needs a rare number to show.

use rten_onnx::onnx::{AttributeProto, AttributeType, NodeProto};

use super::*;

/// A constant of integers, or of numbers with a fraction.
fn constant(name: &str, tensor: TensorProto) -> NodeProto {
    let (name, t) = (name.to_owned(), Some(tensor));
    let value = AttributeProto {
        name: Some("value".into()),
        t,
        r#type: Some(AttributeType::TENSOR),
        ..AttributeProto::default()
    };
    NodeProto { op_type: Some("Constant".into()), output: vec![name], ..NodeProto::default() }.with(value)
}

fn whole(name: &str, values: &[i64]) -> NodeProto {
    constant(name, ints("l", values))
}

fn scales(name: &str, values: &[f32]) -> NodeProto {
    constant(name, graphs::floats("f", &[values.len() as i64], values))
}

#[track_caller]
fn is_not_separate(shape: &[i64], nodes: Vec<NodeProto>) {
    let proof = proof(shape, nodes);
    assert!(!matches!(proof, RowProof::Separate), "{proof:?}");
}

#[test]
fn an_axis_that_is_computed_is_that_of_its_operator() {
    let reduced = |axes: NodeProto| {
        vec![
            whole("a", &[1]),
            whole("b", &[1]),
            whole("c", &[0]),
            axes,
            node("ReduceSum", &["x", "axes"], &["sum"]).with(int("keepdims", 1)),
            node("Add", &["x", "sum"], &["y"]),
        ]
    };
    is_separate(&[0, 4], reduced(node("Identity", &["a"], &["axes"])));
    // As a choice, with `a` as its condition, it would be 1.
    is_separate(&[0, 4], reduced(node("Where", &["a", "b", "c"], &["axes"])));
    is_not_separate(&[0, 4], reduced(node("Min", &["a", "b", "c"], &["axes"])));
    is_not_separate(&[0, 4], reduced(node("Max", &["c", "a", "c"], &["axes"])));
    is_not_separate(&[0, 4], reduced(node("Clip", &["a", "b", "c"], &["axes"])));
    is_not_separate(&[0, 4], reduced(node("Sum", &["a", "b", "c"], &["axes"])));
    // A size less 5 can be −1.
    let by_size = vec![
        node("Shape", &["x"], &["sh"]),
        node("Gather", &["sh", "l1"], &["width"]),
        whole("five", &[5]),
        whole("minus", &[-1]),
        whole("one", &[1]),
        whole("zero", &[0]),
        node("Sub", &["width", "five"], &["less"]),
        node("Equal", &["less", "minus"], &["is"]),
        node("Where", &["is", "zero", "one"], &["axes"]),
        node("ReduceSum", &["x", "axes"], &["sum"]).with(int("keepdims", 1)),
        node("Add", &["x", "sum"], &["y"]),
    ];
    is_not_separate(&[0, 0], by_size);
}

#[test]
fn an_end_that_is_cut_to_32_bits_is_another_end() {
    let sliced = |end: i64, to: i64| {
        vec![
            whole("start", &[0]),
            whole("end", &[end]),
            node("Cast", &["end"], &["short"]).with(int("to", 6)),
            node("Cast", &["short"], &["cut"]).with(int("to", to)),
            node("Slice", &["x", "start", "cut"], &["first"]),
            node("Add", &["x", "first"], &["y"]),
        ]
    };
    is_separate(&[0, 4], sliced(i64::from(i32::MAX), 7));
    is_not_separate(&[0, 4], sliced((1 << 32) + 1, 7));
    is_not_separate(&[0, 4], sliced(2_000_000, 7));
}

#[test]
fn a_scale_near_one_moves_rows() {
    let resized = |factors: &[f32]| {
        vec![
            scales("factors", factors),
            node("Resize", &["x", "", "factors"], &["r"])
                .with(text("mode", "nearest"))
                .with(text("coordinate_transformation_mode", "asymmetric")),
            node("Relu", &["r"], &["y"]),
        ]
    };
    is_separate(&[0, 1, 4, 1], resized(&[1.0, 1.0, 1.0, 2.0]));
    is_not_separate(&[0, 1, 4, 1], resized(&[1.001, 1.0, 1.0, 2.0]));
    is_not_separate(&[0, 1, 4, 1], resized(&[0.999, 1.0, 1.0, 2.0]));
    // Scales that older exporters join from parts.
    let joined = |first: f32| {
        vec![
            scales("one", &[first, 1.0]),
            scales("two", &[2.0, 2.0]),
            node("Concat", &["one", "two"], &["factors"]).with(int("axis", 0)),
            node("Resize", &["x", "", "factors"], &["y"]).with(text("mode", "nearest")),
        ]
    };
    is_separate(&[0, 1, 4, 4], joined(1.0));
    is_not_separate(&[0, 1, 4, 4], joined(1.001));
}

#[test]
fn the_number_of_rows_on_another_axis_is_seen() {
    let count = || vec![node("Shape", &["x"], &["sh"]), node("Gather", &["sh", "l0"], &["n"])];
    let sliced = vec![
        whole("start", &[0]),
        whole("last", &[-1]),
        whole("two", &[2]),
        node("Mul", &["n", "two"], &["end"]),
        node("Slice", &["x", "start", "end", "last"], &["part"]),
        node("ReduceMax", &["part"], &["most"]).with(list("axes", &[1])),
        node("Add", &["x", "most"], &["y"]),
    ];
    is_not_separate(&[0, 4], all(&[count(), sliced]));
    let resized = |third: &str| {
        vec![
            whole("four", &[4]),
            node("Concat", &["n", "l1", third, "four"], &["sizes"]).with(int("axis", 0)),
            node("Resize", &["x", "", "", "sizes"], &["y"]).with(text("mode", "nearest")),
        ]
    };
    is_separate(&[0, 1, 4, 1], all(&[count(), resized("four")]));
    is_not_separate(&[0, 1, 4, 1], all(&[count(), resized("n")]));
}

#[test]
fn columns_that_a_row_chooses_are_those_of_all_rows() {
    let chosen = |columns: &str| {
        vec![
            node("Cast", &["x"], &["numbers"]).with(int("to", 7)),
            node("ai.onnx.ml:ArrayFeatureExtractor", &["x", columns], &["y"]),
        ]
    };
    is_separate(&[0, 4], chosen("l1"));
    is_not_separate(&[0, 4], chosen("numbers"));
}

#[test]
fn a_mask_without_a_batch_is_not_one_for_each_row() {
    let masked = |keeps: i64| {
        vec![
            node("ReduceMax", &["x"], &["mask"]).with(list("axes", &[1, 2])).with(int("keepdims", keeps)),
            node("Attention", &["x", "x", "x", "mask"], &["y"]),
        ]
    };
    is_separate(&[0, 2, 3, 4], masked(1));
    is_not_separate(&[0, 2, 3, 4], masked(0));
    // Exporters also write the standard's domain.
    for domain in ["", "ai.onnx"] {
        let mut nodes = masked(0);
        nodes[1].domain = Some(domain.into());
        is_not_separate(&[0, 2, 3, 4], nodes);
    }
}

/// The axis that `Squeeze` removes again is none of the input's. Found by fuzzing.
#[test]
fn a_scalar_has_no_rows() {
    let nodes = || vec![node("Unsqueeze", &["x", "l0"], &["list"]), node("Squeeze", &["list", "l0"], &["y"])];
    let RowProof::Unknown(why) = proof(&[], nodes()) else { panic!("it has no rows") };
    assert!(why.contains("scalar"), "{why}");
}
