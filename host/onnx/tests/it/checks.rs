//! Checks that a model makes while it runs, because a request decides about sizes with numbers that nothing knows before.

use rten_onnx::onnx::{DataType, GraphProto, ModelProto, TypeProto, TypeProtoTensor, ValueInfoProto};

use crate::graphs::{file, ints, named, value};

/// The checks of a model whose list is as long as a sum of numbers, or as long as the input.
fn checks(is_sum: bool) -> Vec<String> {
    let length = if is_sum {
        named("ReduceSum", &["x"], &["n"], &[("keepdims", 0)])
    } else {
        named("Size", &["x"], &["n"], &[])
    };
    let tensor = TypeProtoTensor { elem_type: Some(DataType::FLOAT), ..TypeProtoTensor::default() };
    let ty = TypeProto { tensor_type: Some(tensor), ..TypeProto::default() };
    let graph = GraphProto {
        input: vec![ValueInfoProto { name: Some("x".into()), r#type: Some(ty) }],
        node: vec![
            length,
            named("Cast", &["n"], &["end"], &[("to", i64::from(DataType::INT64.0))]),
            named("Range", &["zero", "end", "one"], &["range"], &[]),
            named("Reshape", &["range", "wide"], &["row"], &[]),
            named("Reshape", &["range", "high"], &["column"], &[]),
            named("Add", &["row", "column"], &["pairs"], &[]),
            named("Neg", &["range"], &["alone"], &[]),
            named("Add", &["range", "one"], &["next"], &[]),
        ],
        output: vec![value("pairs")],
        initializer: vec![
            ints("zero", &[], &[0]),
            ints("one", &[], &[1]),
            ints("wide", &[2], &[1, -1]),
            ints("high", &[2], &[-1, 1]),
        ],
        ..GraphProto::default()
    };
    let prepared = plimsoll_onnx::prepare(file(graph, 13), &[]).unwrap_or_else(|error| panic!("{error}"));
    let graph = ModelProto::parse_buf(&prepared.bytes).expect("a model").graph.expect("a graph");
    let names = graph.node.into_iter().filter_map(|node| node.name);
    names.filter(|name| name.contains("is too large")).collect()
}

#[test]
fn values_of_a_size_that_is_computed_from_data_are_checked_while_the_model_runs() {
    let found = checks(true);
    for node in ["node_range", "node_pairs"] {
        assert!(
            found.iter().any(|name| name.contains(&format!("is too large at node `{node}`"))),
            "{node} in {found:?}"
        );
    }
    // What has the size of its input, or joins it with one number, needs no check.
    assert_eq!(found.len(), 2, "{found:?}");
    // The estimate of the run knows the size of an input.
    assert_eq!(checks(false), [""; 0]);
}
