//! Checks that a model makes while it runs, because a request decides about sizes with numbers that nothing knows before.

use rten_onnx::onnx::{
    AttributeProto, AttributeType, DataType, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TypeProto, TypeProtoTensor, ValueInfoProto,
};

fn node(operator: &str, inputs: &[&str], output: &str, ints: &[(&str, i64)]) -> NodeProto {
    let attribute = |&(name, value): &(&str, i64)| AttributeProto {
        name: Some(name.into()),
        i: Some(value),
        r#type: Some(AttributeType::INT),
        ..AttributeProto::default()
    };
    NodeProto {
        name: Some(format!("node_{output}")),
        op_type: Some(operator.into()),
        input: inputs.iter().map(|&name| name.into()).collect(),
        output: vec![output.into()],
        attribute: ints.iter().map(attribute).collect(),
        ..NodeProto::default()
    }
}

fn ints(name: &str, dims: &[i64], values: &[i64]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(DataType::INT64),
        int64_data: values.to_vec(),
        ..TensorProto::default()
    }
}

/// The checks of a model whose list is as long as a sum of numbers, or as long as the input.
fn checks(is_sum: bool) -> Vec<String> {
    let length =
        if is_sum { node("ReduceSum", &["x"], "n", &[("keepdims", 0)]) } else { node("Size", &["x"], "n", &[]) };
    let tensor = TypeProtoTensor { elem_type: Some(DataType::FLOAT), ..TypeProtoTensor::default() };
    let ty = TypeProto { tensor_type: Some(tensor), ..TypeProto::default() };
    let graph = GraphProto {
        input: vec![ValueInfoProto { name: Some("x".into()), r#type: Some(ty) }],
        node: vec![
            length,
            node("Cast", &["n"], "end", &[("to", i64::from(DataType::INT64.0))]),
            node("Range", &["zero", "end", "one"], "range", &[]),
            node("Reshape", &["range", "wide"], "row", &[]),
            node("Reshape", &["range", "high"], "column", &[]),
            node("Add", &["row", "column"], "pairs", &[]),
            node("Neg", &["range"], "alone", &[]),
            node("Add", &["range", "one"], "next", &[]),
        ],
        output: vec![ValueInfoProto { name: Some("pairs".into()), ..ValueInfoProto::default() }],
        initializer: vec![
            ints("zero", &[], &[0]),
            ints("one", &[], &[1]),
            ints("wide", &[2], &[1, -1]),
            ints("high", &[2], &[-1, 1]),
        ],
        ..GraphProto::default()
    };
    let opset_import = vec![OperatorSetIdProto { version: Some(13), ..OperatorSetIdProto::default() }];
    let model = ModelProto { graph: Some(graph), opset_import, ..ModelProto::default() };
    let prepared =
        plimsoll_onnx::prepare(model.write_buf().expect("written"), &[]).unwrap_or_else(|error| panic!("{error}"));
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
