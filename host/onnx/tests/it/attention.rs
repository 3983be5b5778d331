//! `Attention`: scores that are NaN, and masks that are shorter than the keys.

use rten::Value;
use rten_onnx::onnx::{DataType, GraphProto};
use rten_tensor::Tensor;
use rten_tensor::prelude::*;

use crate::graphs::{file, input, named, run};

const NAN: f32 = f32::NAN;

/// The weighted value of one query of the number `q`, of the keys 1 and 2 and the values 1 and 3.
fn weighted(q: f32, mask: Option<(DataType, Value)>) -> Result<f32, String> {
    weighted_of(vec![q], mask)
}

fn weighted_of(q: Vec<f32>, mask: Option<(DataType, Value)>) -> Result<f32, String> {
    let value = |numbers: Vec<f32>| -> Value { Tensor::from_data(&[1, 1, numbers.len(), 1], numbers).into() };
    let float = |name: &str| input(name, DataType::FLOAT, 4);
    let mut inputs = vec![float("q"), float("k"), float("v")];
    let mut given = vec![("q", value(q)), ("k", value(vec![1.0, 2.0])), ("v", value(vec![1.0, 3.0]))];
    let mut names = vec!["root", "k", "v"];
    if let Some((ty, mask)) = mask {
        inputs.push(input("mask", ty, 2));
        names.push("mask");
        given.push(("mask", mask));
    }
    let nodes = vec![named("Sqrt", &["q"], &["root"], &[]), named("Attention", &names, &["y"], &[])];
    let graph =
        GraphProto { input: inputs, node: nodes, output: vec![crate::graphs::value("y")], ..GraphProto::default() };
    let Value::FloatTensor(found) = run(file(graph, 24), &given)? else { panic!("not FLOAT") };
    Ok(*found.iter().next().expect("an element"))
}

fn numbers(mask: &[f32]) -> Option<(DataType, Value)> {
    Some((DataType::FLOAT, Tensor::from_data(&[1, mask.len()], mask.to_vec()).into()))
}

fn truths(mask: &[i32]) -> Option<(DataType, Value)> {
    Some((DataType::BOOL, Tensor::from_data(&[1, mask.len()], mask.to_vec()).into()))
}

fn assert_refused(what: &str, found: Result<f32, String>, text: &str) {
    let error = found.expect_err(what);
    assert!(error.contains("node_y"), "{what}: {error}");
    assert!(plimsoll_onnx::refused(&error).is_some_and(|error| error.contains(text)), "{what}: {error}");
}

#[test]
fn scores_that_are_nan_are_refused() {
    let infinite = f32::INFINITY;
    assert_eq!(weighted(0.0, None), Ok(2.0));
    // The root of a negative number, and a request with NaN, if a mask may be infinite.
    assert_refused("a root", weighted(-1.0, None), "NaN");
    for q in [-1.0, NAN, infinite] {
        assert_refused("with a mask", weighted(q, numbers(&[0.0, 0.0])), "NaN");
    }
    for mask in [[NAN, 0.0], [0.0, infinite]] {
        assert_refused("a mask", weighted(0.0, numbers(&mask)), "NaN");
    }
    // A mask may exclude keys, also all of them.
    assert_eq!(weighted(0.0, numbers(&[0.0, -infinite])), Ok(1.0));
    assert_eq!(weighted(0.0, numbers(&[-infinite; 2])), Ok(0.0));
    assert_eq!(weighted(0.0, numbers(&[0.0; 2])), Ok(2.0));
}

#[test]
fn a_request_with_nan_is_refused_by_the_host_if_no_mask_may_be_infinite() {
    let float = |name: &str| input(name, DataType::FLOAT, 4);
    let mut graph = GraphProto {
        input: vec![float("q"), float("k"), float("v")],
        node: vec![named("Attention", &["q", "k", "v"], &["y"], &[])],
        output: vec![crate::graphs::value("y")],
        ..GraphProto::default()
    };
    let needs =
        |graph: GraphProto| plimsoll_onnx::prepare(file(graph, 24), &[]).expect("prepared").needs_moderate_inputs;
    assert!(needs(graph.clone()));
    graph.input.push(input("mask", DataType::FLOAT, 2));
    graph.node[0].input.push("mask".into());
    assert!(!needs(graph), "a negative infinity excludes keys");
}

#[test]
fn a_mask_that_is_shorter_than_the_keys_is_refused() {
    assert_refused("FLOAT", weighted(0.0, numbers(&[0.0])), "the mask is too small for the keys");
    assert_refused("BOOL", weighted(0.0, truths(&[1])), "the mask is too small for the keys");
    assert_eq!(weighted(0.0, truths(&[1, 1])), Ok(2.0));
    assert_eq!(weighted(0.0, truths(&[1, 0])), Ok(1.0));
    // Sizes that the file states.
    let float = |name: &str, sizes: &[i64]| {
        crate::graphs::shaped(name, DataType::FLOAT, &sizes.iter().map(|&size| Some(size)).collect::<Vec<_>>())
    };
    for (length, is_refused) in [(1, true), (2, false)] {
        let inputs = [("q", 1), ("k", 2), ("v", 2)].map(|(name, count)| float(name, &[1, 1, count, 1]));
        let graph = GraphProto {
            input: [inputs.to_vec(), vec![float("mask", &[1, length])]].concat(),
            node: vec![named("Attention", &["q", "k", "v", "mask"], &["y"], &[])],
            output: vec![crate::graphs::value("y")],
            ..GraphProto::default()
        };
        let error = plimsoll_onnx::prepare(file(graph, 24), &[]).err().map(|error| error.to_string());
        assert_eq!(error.is_some(), is_refused, "{error:?}");
        assert!(error.is_none_or(|error| error.contains("node_y") && error.contains("a mask of 1 for 2 keys")));
    }
}
