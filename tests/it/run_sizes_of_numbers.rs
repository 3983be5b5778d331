//! Numbers of a request, or numbers that a model computes from it, can decide how large values become: the end of a range,
//! the rounds of a loop, the branch that runs, what is found. A request that could need too much is refused, and the server
//! keeps running.

use plimsoll_tests::onnx::Onnx;
use rten_onnx::onnx::DataType;
use serde_json::json;

use crate::run_sizes::list;
use crate::stored_model::assert_bounded_by;

/// Adds the largest of all pairs of a list of integers, as `y`.
fn pairs_of(onnx: Onnx, list: &str) -> Onnx {
    onnx.ints("wide", &[1, -1])
        .ints("high", &[-1, 1])
        .ints("one_element", &[1])
        .node("Reshape", &[list, "wide"], "row", &[])
        .node("Reshape", &[list, "high"], "column", &[])
        .node("Add", &["row", "column"], "pairs", &[])
        .node("Cast", &["pairs"], "numbers", &[("to", 1)])
        .node("ReduceMax", &["numbers"], "most", &[])
        .node("Reshape", &["most", "one_element"], "y", &[])
        .output("y", &[Some(1)])
}

/// Every shape of the model is fixed, but a number of the request is the length of a list.
#[tokio::test(flavor = "multi_thread")]
async fn pairs_of_a_range_whose_end_a_request_states_are_refused() {
    let onnx = Onnx::new(13)
        .int_input("n", &[Some(1)])
        .ints("zeros", &[0])
        .int_scalar("zero", 0)
        .int_scalar("one", 1)
        .node("Squeeze", &["n", "zeros"], "end", &[])
        .node("Range", &["zero", "end", "one"], "range", &[]);
    let number = |n: i64| json!({ "inputs": [{ "name": "n", "shape": [1], "datatype": "INT64", "data": [n] }] });
    let parts = ["`node_pairs` (Add)", "10000000000 elements", "at most 268435456", "send smaller inputs"];
    let model = pairs_of(onnx, "range");
    assert_bounded_by(&model, &["rten", "onnxruntime"], (number(5), 8.0), number(100_000), &parts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pairs_of_all_elements_that_could_be_found_are_refused() {
    let onnx = Onnx::new(13).input("x", &[None]).node("NonZero", &["x"], "found", &[]);
    let parts = ["`node_pairs` (Add)", "up to 10000000000 elements"];
    let model = pairs_of(onnx, "found");
    assert_bounded_by(&model, &["rten", "onnxruntime"], (list(20), 38.0), list(100_000), &parts).await;
}

/// Which branch runs is not known before the run, so the larger one counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_computes_pairs_is_counted() {
    let small = Onnx::new(13).node("ReduceMax", &["x"], "most", &[]).node("Reshape", &["most", "one"], "y", &[]);
    let large = Onnx::new(13)
        .ints("wide", &[1, -1])
        .ints("high", &[-1, 1])
        .node("Reshape", &["x", "wide"], "row", &[])
        .node("Reshape", &["x", "high"], "column", &[])
        .node("Add", &["row", "column"], "pairs", &[])
        .node("ReduceMax", &["pairs"], "most", &[])
        .node("Reshape", &["most", "one"], "y", &[]);
    let model = Onnx::new(13)
        .input("x", &[None])
        .floats("two", &[], &[2.0])
        .ints("one", &[1])
        .node("ReduceMax", &["x"], "most_of_all", &[("keepdims", 0)])
        .node("Greater", &["two", "most_of_all"], "is_small", &[])
        .node("If", &["is_small"], "y", &[])
        .with_graph("then_branch", large.output("y", &[Some(1)]))
        .with_graph("else_branch", small.output("y", &[Some(1)]))
        .output("y", &[Some(1)]);
    let parts = ["`node_pairs` (Add)", "up to 10000000000 elements"];
    assert_bounded_by(&model, &["rten"], (list(20), 2.0), list(100_000), &parts).await;
}

/// A request states how often a loop runs, and each round adds elements.
#[tokio::test(flavor = "multi_thread")]
async fn a_loop_whose_rounds_a_request_states_is_counted_with_all_rounds() {
    let body = Onnx::new(13)
        .typed_input("round", &[], DataType::INT64)
        .typed_input("goes_on", &[], DataType::BOOL)
        .input("state", &[None])
        .node("Identity", &["goes_on"], "still_goes_on", &[])
        .node("Concat", &["state", "x"], "next", &[("axis", 0)])
        .typed_output("still_goes_on", &[], DataType::BOOL)
        .output("next", &[None]);
    let model = Onnx::new(13)
        .int_input("n", &[])
        .input("x", &[Some(1_000)])
        .node("Loop", &["n", "", "x"], "all", &[])
        .with_graph("body", body)
        .ints("one", &[1])
        .node("ReduceSum", &["all"], "sum", &[])
        .node("Reshape", &["sum", "one"], "y", &[])
        .output("y", &[Some(1)]);
    let rounds = |n: i64| {
        let x = json!({ "name": "x", "shape": [1_000], "datatype": "FP32", "data": vec![1; 1_000] });
        json!({ "inputs": [{ "name": "n", "shape": [], "datatype": "INT64", "data": [n] }, x] })
    };
    let parts = ["`node_next` (Concat)", "500001000 elements"];
    assert_bounded_by(&model, &["rten"], (rounds(3), 4_000.0), rounds(500_000), &parts).await;
}

/// The length of a list is a sum of numbers of the request, which nothing knows before the run. rten checks pairs of it
/// while it runs.
#[tokio::test(flavor = "multi_thread")]
async fn pairs_of_a_list_whose_length_is_computed_from_data_are_refused() {
    let range = Onnx::new(13)
        .input("x", &[None])
        .int_scalar("zero", 0)
        .int_scalar("one", 1)
        .node("ReduceSum", &["x"], "sum", &[("keepdims", 0)])
        .node("Cast", &["sum"], "end", &[("to", 7)])
        .node("Range", &["zero", "end", "one"], "range", &[]);
    let parts = ["a tensor is too large at node `node_pairs`"];
    let model = pairs_of(range.clone(), "range");
    assert_bounded_by(&model, &["rten"], (list(20), 38.0), list(100_000), &parts).await;
    // A product, a choice, and a value of the same shape.
    let product = range
        .clone()
        .ints("wide", &[1, -1])
        .ints("high", &[-1, 1])
        .ints("one_element", &[1])
        .node("Cast", &["range"], "numbers", &[("to", 1)])
        .node("Reshape", &["numbers", "wide"], "row", &[])
        .node("Reshape", &["numbers", "high"], "column", &[])
        .node("MatMul", &["column", "row"], "pairs", &[])
        .node("ReduceMax", &["pairs"], "most", &[])
        .node("Reshape", &["most", "one_element"], "y", &[])
        .output("y", &[Some(1)]);
    assert_bounded_by(&product, &["rten"], (list(20), 361.0), list(100_000), &parts).await;
    let chosen = range
        .clone()
        .ints("high", &[-1, 1])
        .ints("wide", &[1, -1])
        .ints("one_element", &[1])
        .node("Reshape", &["x", "wide"], "row", &[])
        .node("Mul", &["range", "zero"], "zeros", &[])
        .node("Gather", &["row", "zeros"], "pairs", &[("axis", 0)])
        .node("ReduceMax", &["pairs"], "most", &[])
        .node("Reshape", &["most", "one_element"], "y", &[])
        .output("y", &[Some(1)]);
    assert_bounded_by(&chosen, &["rten"], (list(20), 1.0), list(100_000), &parts).await;
    let square = range
        .ints("one_element", &[1])
        .node("Shape", &["range"], "size", &[])
        .node("Concat", &["size", "size"], "sizes", &[("axis", 0)])
        .node("ConstantOfShape", &["sizes"], "pairs", &[])
        .node("ReduceMax", &["pairs"], "most", &[])
        .node("Reshape", &["most", "one_element"], "y", &[])
        .output("y", &[Some(1)]);
    assert_bounded_by(&square, &["rten"], (list(20), 0.0), list(100_000), &parts).await;
}
