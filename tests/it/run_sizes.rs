//! A request whose inputs fit into every limit can need values that no machine can allocate, such as all pairs of a long
//! list. It is refused before the engine runs, and the server keeps running.

use plimsoll_tests::Server;
use plimsoll_tests::onnx::Onnx;
use rten_onnx::onnx::DataType;
use serde_json::{Value, json};

use crate::model_cases::{assert_output, config};
use crate::stored_model::{Stored, assert_bounded_by, engines};

/// A column of `length` ones.
fn column(length: usize) -> Value {
    json!({ "inputs": [{ "name": "x", "shape": [length, 1], "datatype": "FP32", "data": vec![1; length] }] })
}

/// Serves a model with the input `x`, a column of any length, and the output `y` on every native engine. Sends a short column,
/// whose answer is right, and a long one, which is refused with the node's name.
async fn assert_bounded(model: &Onnx, expected: f64, node: &str) {
    let stored = Stored::new(model);
    for engine in engines() {
        let server = stored.serve(engine).await;
        for _ in 0..2 {
            let reply = server.infer_json("p.infer", &column(100_000)).await;
            assert_eq!(reply.status, 400, "{engine:?}: {}", reply.text);
            for part in [node, "10000000000 elements", "at most 268435456", "send smaller inputs"] {
                assert!(reply.text.contains(part), "{engine:?}: `{part}` in {}", reply.text);
            }
            let reply = server.infer_json("p.infer", &column(20)).await;
            assert_eq!(reply.status, 200, "{engine:?}: {}", reply.text);
            assert_output(&reply.json()["outputs"][0], &json!([1, 1]), &[expected], &format!("{engine:?}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_pairs_of_a_long_list_are_refused() {
    let model = Onnx::new(13)
        .input("x", &[None, Some(1)])
        .node("Transpose", &["x"], "row", &[])
        .node("Add", &["x", "row"], "pairs", &[])
        .node("ReduceMax", &["pairs"], "y", &[])
        .output("y", &[Some(1), Some(1)]);
    assert_bounded(&model, 2.0, "`node_pairs` (Add)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scores_of_attention_over_a_long_list_are_refused() {
    // Sizes that the model computes, as exporters write them.
    let model = Onnx::new(13)
        .input("x", &[None, Some(1)])
        .ints("length", &[-1])
        .node("Reshape", &["x", "length"], "list", &[])
        .node("Shape", &["list"], "count", &[])
        .ints("one", &[1])
        .node("Concat", &["one", "count"], "wide", &[("axis", 0)])
        .node("Reshape", &["list", "wide"], "keys", &[])
        .node("MatMul", &["x", "keys"], "scores", &[])
        .node("ReduceSum", &["scores"], "y", &[])
        .output("y", &[Some(1), Some(1)]);
    assert_bounded(&model, 400.0, "`node_scores` (MatMul)").await;
}

/// A run that fits is not combined with others to a batch that does not fit.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_batch_would_be_too_large_runs_alone() {
    let model = Onnx::new(13)
        .input("x", &[None, None])
        .ints("first", &[1])
        .ints("second", &[2])
        .ints("pairs", &[1, 2])
        .node("Unsqueeze", &["x", "second"], "column", &[])
        .node("Unsqueeze", &["x", "first"], "row", &[])
        .node("Add", &["column", "row"], "sums", &[])
        .node("ReduceSum", &["sums", "pairs"], "y", &[("keepdims", 0)])
        .output("y", &[None]);
    let stored = Stored::new(&model);
    let config = config(&stored.file, ("rten", "infer-native"), "max_batch = 32");
    let server = Server::start(&config.replace("input = \"image\"", "max_pixels = 1")).await;
    // 32 rows of 4,000 × 4,000 sums are too many, one row is not. The second run of each length is of a known shape.
    for (length, sum, batches) in [(4_000, 32e6, 0), (4_000, 32e6, 0), (10, 200.0, 1), (4_000, 32e6, 1), (10, 200.0, 2)]
    {
        let x = json!({ "name": "x", "shape": [1, length], "datatype": "FP32", "data": vec![1; length] });
        let reply = server.infer_json("p.infer", &json!({ "inputs": [x] })).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert_output(&reply.json()["outputs"][0], &json!([1]), &[sum], &format!("{length}"));
        let metrics = server.get("/metrics").await.text;
        let count = format!("plimsoll_model_batch_rows_count{{model=\"m\"}} {batches}\n");
        assert!(
            metrics.contains(&count) || (batches == 0 && !metrics.contains("model_batch_rows_count{")),
            "{metrics}"
        );
    }
}

/// As [`assert_bounded_by`], with lists of ones: a short one, whose answer is `sum`, and a long one.
async fn assert_list_bounded(model: &Onnx, backends: &[&str], (short, sum): (usize, f64), long: usize, parts: &[&str]) {
    assert_bounded_by(model, backends, (list(short), sum), list(long), parts).await;
}

/// A list of ones.
pub(crate) fn list(length: usize) -> Value {
    json!({ "inputs": [{ "name": "x", "shape": [length], "datatype": "FP32", "data": vec![1; length] }] })
}

/// A loop with as many rounds as `x` has elements; `operands` are what each round joins. The result is the sum.
fn joined(operands: [&str; 2]) -> Onnx {
    let body = Onnx::new(13)
        .typed_input("round", &[], DataType::INT64)
        .typed_input("goes_on", &[], DataType::BOOL)
        .input("state", &[None])
        .node("Identity", &["goes_on"], "still_goes_on", &[])
        .node("Concat", &operands, "next", &[("axis", 0)])
        .typed_output("still_goes_on", &[], DataType::BOOL)
        .output("next", &[None]);
    Onnx::new(13)
        .input("x", &[None])
        .node("Size", &["x"], "rounds", &[])
        .node("Loop", &["rounds", "", "x"], "all", &[])
        .with_graph("body", body)
        .node("ReduceSum", &["all"], "y", &[])
        .output("y", &[Some(1)])
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_grow_in_every_round_of_a_loop_are_refused_with_the_node() {
    // 10 · 2¹⁰ elements, and 60 · 2⁶⁰; 30 · 31 elements, and 20,000 · 20,001.
    let parts = ["node `node_next` (Concat)", "elements", "at most 268435456"];
    assert_list_bounded(&joined(["state", "state"]), &["rten"], (10, 10_240.0), 60, &parts).await;
    let parts = ["node `node_next` (Concat)", "400020000 elements"];
    assert_list_bounded(&joined(["state", "x"]), &["rten"], (30, 930.0), 20_000, &parts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_large_values_that_are_needed_at_the_same_time_are_refused() {
    // Six products of all pairs, each of which the last node takes.
    let mut onnx = Onnx::new(13)
        .input("x", &[None])
        .ints("row", &[1, -1])
        .ints("column", &[-1, 1])
        .ints("one", &[1])
        .node("Reshape", &["x", "row"], "wide", &[])
        .node("Reshape", &["x", "column"], "high", &[])
        .node("Mul", &["wide", "high"], "p0", &[]);
    for index in 1..6 {
        onnx = onnx.node("Exp", &[&format!("p{}", index - 1)], &format!("p{index}"), &[]);
    }
    let all: Vec<String> = (0..6).map(|index| format!("p{index}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let onnx = onnx
        .node("Min", &all, "least", &[])
        .node("ReduceSum", &["least"], "sum", &[])
        .node("Reshape", &["sum", "one"], "y", &[])
        .output("y", &[Some(1)]);
    let parts = ["in all values", "node `node_least` (Min)", "at most 1073741824", "send smaller inputs"];
    assert_list_bounded(&onnx, &["rten", "onnxruntime"], (3, 9.0), 14_000, &parts).await;
}
