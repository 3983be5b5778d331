//! Numbers with which rten would compute wrongly: integers beyond 32 bits, overflow, NaN, and sizes that a request
//! chooses. The right answers are computed here.

use plimsoll_tests::onnx::Onnx;
use serde_json::{Value, json};

use crate::stored_model::{FLOAT, assert_refused, assert_right, floats};

/// ONNX's number of the type INT64, which `Cast` takes.
const INT64: i64 = 7;

fn ints(name: &str, data: &[i64]) -> Value {
    json!({ "name": name, "shape": [data.len()], "datatype": "INT64", "data": data })
}

#[tokio::test(flavor = "multi_thread")]
async fn integers_beyond_32_bits_are_refused_with_the_node() {
    let squared = Onnx::new(13)
        .input("x", &[None])
        .node("Shape", &["x"], "shape", &[])
        .node("Mul", &["shape", "shape"], "y", &[])
        .int_output("y", &[Some(1)]);
    assert_right(&squared, &[floats("x", &[300], &[0.0; 300])], &[1], &[90_000.0], "a small square").await;
    let large = floats("x", &[50_000], &vec![0.0; 50_000]);
    assert_refused(&squared, &[large], &["exceeds 32 bits", "node_y"]).await;
    let sum = Onnx::new(13).int_input("x", &[None]).node("Add", &["x", "x"], "y", &[]).int_output("y", &[None]);
    assert_right(&sum, &[ints("x", &[7, -9])], &[2], &[14.0, -18.0], "a small sum").await;
    assert_refused(&sum, &[ints("x", &[7, 2_000_000_000])], &["exceeds 32 bits", "node_y"]).await;
    assert_refused(&sum, &[ints("x", &[1 << 40])], &["1099511627776"]).await;
    let cast = Onnx::new(13).input("x", &[None]).node("Cast", &["x"], "y", &[("to", INT64)]).int_output("y", &[None]);
    assert_right(&cast, &[floats("x", &[2], &[2.7, -2.7])], &[2], &[2.0, -2.0], "a small number").await;
    assert_refused(&cast, &[floats("x", &[1], &[3e9])], &["does not fit", "node_y"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn division_before_rounding_is_exact_behind_any_operator_that_keeps_numbers() {
    // 15 · 1.1 / 1.1 is 15, but 15 · 1.1 · (1 / 1.1) is less in FLOAT.
    let x = 15.0f32 * 1.1;
    let model = Onnx::new(13)
        .input("x", &[Some(1)])
        .floats("divisor", &[], &[1.1])
        .ints("repeats", &[2])
        .node("Div", &["x", "divisor"], "ratio", &[])
        .node("Tile", &["ratio", "repeats"], "many", &[])
        .node("Floor", &["many"], "y", &[])
        .output("y", &[Some(2)]);
    let expected = f64::from((x / 1.1f32).floor());
    assert_right(&model, &[floats("x", &[1], &[x])], &[2], &[expected, expected], "Tile").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_do_not_overflow() {
    let of = |operator: &str| Onnx::new(13).input("x", &[None]).node(operator, &["x"], "y", &[]).output("y", &[None]);
    let input = [floats("x", &[3], &[100.0, 1e17, 1.0])];
    let soft = [100.0, 1e17, 1.0f64.exp().ln_1p()];
    assert_right(&of("Softplus"), &input, &[3], &soft, "Softplus").await;
    let large = [floats("x", &[2], &[1e30, 2.0])];
    let expected = [1e30f64.asinh(), 2.0f64.asinh()];
    assert_right(&of("Asinh"), &large, &[2], &expected, "Asinh").await;
    assert_right(&of("Acosh"), &large, &[2], &[1e30f64.acosh(), 2.0f64.acosh()], "Acosh").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nan_that_a_model_computes_is_kept_and_huge_inputs_are_refused() {
    for operator in ["Relu", "Clip", "MaxPool"] {
        let mut model = Onnx::new(13)
            .input("x", &[Some(1), Some(1), Some(2)])
            .floats("zero", &[], &[0.0])
            .node("Mul", &["x", "zero"], "zeros", &[])
            .node("Div", &["x", "zeros"], "ratio", &[])
            .node("Mul", &["ratio", "zero"], "maybe", &[]);
        model = match operator {
            "Clip" => model.node("Clip", &["maybe", "zero"], "bounded", &[]),
            "MaxPool" => model.node("MaxPool", &["maybe"], "bounded", &[]).with_lists(&[("kernel_shape", &[2])]),
            _ => model.node("Relu", &["maybe"], "bounded", &[]),
        };
        let pooled = if operator == "MaxPool" { 1 } else { 2 };
        let model = model
            .node("IsNaN", &["bounded"], "is_nan", &[])
            .node("Cast", &["is_nan"], "y", &[("to", FLOAT)])
            .output("y", &[Some(1), Some(1), Some(pooled)]);
        let input = [floats("x", &[1, 1, 2], &[1.0, 2.0])];
        let expected = vec![1.0; pooled as usize];
        if operator == "MaxPool" {
            // Engines differ there.
            assert_refused(&model, &input, &["NaN or an infinity reaches node"]).await;
        } else {
            assert_right(&model, &input, &[1, 1, pooled as usize], &expected, operator).await;
        }
        let huge = floats("x", &[1, 1, 2], &[1.0, 3e38]);
        assert_refused(&model, &[huge], &["`x`", "3e38", "NaN"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_cannot_ask_for_a_tensor_or_a_loop_of_any_size() {
    let sizes = ints("sizes", &[200_000, 400_000]);
    for operator in ["ConstantOfShape", "Expand", "Tile", "Pad"] {
        let mut model = Onnx::new(13).int_input("sizes", &[Some(2)]).floats("one", &[1, 1], &[1.0]);
        model = match operator {
            "ConstantOfShape" => model.node(operator, &["sizes"], "made", &[]),
            "Pad" => model.ints("none", &[0, 0]).node("Concat", &["none", "sizes"], "pads", &[("axis", 0)]).node(
                "Pad",
                &["one", "pads"],
                "made",
                &[],
            ),
            _ => model.node(operator, &["one", "sizes"], "made", &[]),
        };
        let model = model.node("ReduceSum", &["made"], "y", &[("keepdims", 0)]).output("y", &[]);
        assert_refused(&model, std::slice::from_ref(&sizes), &["send smaller", "node_made"]).await;
        let expected = match operator {
            "ConstantOfShape" => 0.0,
            "Pad" => 1.0,
            _ => 6.0,
        };
        assert_right(&model, &[ints("sizes", &[2, 3])], &[], &[expected], operator).await;
    }
}
