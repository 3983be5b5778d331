//! Values without elements of which rten would answer with memory that it never wrote, or for which it would panic: each
//! request is refused with the node, also if the model computes the size.

use plimsoll_runtime::nn::Backend;
use plimsoll_runtime::tensor::{Tensor, TensorType};
use plimsoll_tests::onnx::Onnx;
use serde_json::json;

use crate::onnx_empty::{backends, floats, run};
use crate::stored_model::{Stored, infer};

fn rten() -> Box<dyn Backend> {
    backends().into_iter().find(|(name, _)| *name == "rten").expect("the backend").1
}

fn zeros(shape: &[u32]) -> Tensor {
    floats(shape, &vec![0.0; shape.iter().product::<u32>() as usize])
}

fn ints(shape: &[u32], values: &[i64]) -> Tensor {
    Tensor::new(shape.to_vec(), TensorType::I64, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

async fn assert_refused(model: &Onnx, operator: &str, inputs: &[(&str, Tensor)]) {
    let shapes: Vec<_> = inputs.iter().map(|(name, tensor)| (name, &tensor.dimensions)).collect();
    let error = run(&*rten(), model, inputs).await.expect_err(&format!("{operator} of {shapes:?}"));
    for part in ["node `node_y`", operator, "without elements", "send inputs with at least one element"] {
        assert!(error.contains(part), "{operator} of {shapes:?}: `{part}` in {error}");
    }
}

const ANY: [Option<i64>; 4] = [None; 4];

#[tokio::test]
async fn a_pool_over_nothing_does_not_answer_with_old_memory() {
    for operator in ["GlobalAveragePool", "GlobalMaxPool"] {
        for declared in [ANY, [None, Some(3), None, None]] {
            let model = Onnx::new(13).input("x", &declared).node(operator, &["x"], "y", &[]).output("y", &ANY);
            for shape in [[1, 3, 0, 4], [1, 3, 4, 0], [2, 3, 0, 0]] {
                assert_refused(&model, operator, &[("x", zeros(&shape))]).await;
            }
            // No rows are right.
            let output = run(&*rten(), &model, &[("x", zeros(&[0, 3, 2, 2]))]).await.expect("a run");
            assert_eq!((output.dimensions, output.data), (vec![0, 3, 1, 1], floats(&[0], &[]).data), "{operator}");
            let output = run(&*rten(), &model, &[("x", floats(&[1, 3, 1, 2], &[2.0; 6]))]).await.expect("a run");
            assert_eq!(output.data, floats(&[3], &[2.0; 3]).data, "{operator}");
        }
    }
}

/// The end of the part is a number of the request, which the estimate of a run follows, and the sum of others, which it
/// does not.
#[tokio::test]
async fn a_pool_over_a_part_that_the_model_computes_is_refused() {
    let start = || Onnx::new(13).input("x", &ANY).ints("first", &[0]).ints("width", &[3]).output("y", &ANY);
    let pooled = |onnx: Onnx, end: &str| {
        onnx.node("Slice", &["x", "first", end, "width"], "part", &[]).node("GlobalAveragePool", &["part"], "y", &[])
    };
    let given = pooled(start().int_input("end", &[Some(1)]), "end");
    let summed =
        pooled(start().int_input("numbers", &[None]).node("ReduceSum", &["numbers"], "end", &[("keepdims", 1)]), "end");
    let x = || ("x", floats(&[1, 1, 1, 2], &[2.0, 4.0]));
    for (model, name, nothing, one) in [(given, "end", vec![0], vec![1]), (summed, "numbers", vec![3, -3], vec![3, -2])]
    {
        let list = |values: &[i64]| (name, ints(&[values.len() as u32], values));
        assert_refused(&model, "GlobalAveragePool", &[x(), list(&nothing)]).await;
        let output = run(&*rten(), &model, &[x(), list(&one)]).await.expect("a run");
        assert_eq!(output.data, floats(&[1], &[2.0]).data);
    }
}

/// A branch has the pool.
#[tokio::test]
async fn a_pool_over_nothing_in_a_branch_is_refused() {
    let branch = |operator: &str, output: &str| Onnx::new(13).node(operator, &["x"], output, &[]).output(output, &ANY);
    let model = Onnx::new(13)
        .input("x", &ANY)
        .typed_input("pools", &[], rten_onnx::onnx::DataType::BOOL)
        .node("If", &["pools"], "result", &[])
        .with_graph("then_branch", branch("GlobalMaxPool", "y"))
        .with_graph("else_branch", branch("Neg", "z"))
        .output("result", &ANY);
    let pools = |value: u8| ("pools", Tensor::new(Vec::new(), TensorType::Bool, vec![value]));
    assert_refused(&model, "GlobalMaxPool", &[("x", zeros(&[1, 1, 0, 1])), pools(1)]).await;
    let output = run(&*rten(), &model, &[("x", zeros(&[1, 1, 0, 1])), pools(0)]).await.expect("a run");
    assert_eq!(output.dimensions, [1, 1, 0, 1]);
}

#[tokio::test]
async fn elements_gathered_from_nothing_are_refused() {
    let two = [None, None];
    for (axis, data, indices) in [(0, [0, 3], [2, 3]), (1, [3, 0], [3, 2]), (0, [0, 1], [1, 1]), (-1, [2, 0], [1, 1])] {
        let model = Onnx::new(13)
            .input("x", &two)
            .int_input("i", &two)
            .node("GatherElements", &["x", "i"], "y", &[("axis", axis)])
            .output("y", &two);
        let count = (indices[0] * indices[1]) as usize;
        assert_refused(&model, "GatherElements", &[("x", zeros(&data)), ("i", ints(&indices, &vec![0; count]))]).await;
        let inputs = [("x", floats(&[1, 1], &[5.0])), ("i", ints(&[1, 1], &[0]))];
        assert_eq!(run(&*rten(), &model, &inputs).await.expect("a run").data, floats(&[1], &[5.0]).data);
    }
}

#[tokio::test]
async fn what_the_engine_panics_for_is_refused_with_the_node() {
    let two = [None, None];
    let x = |shape: &[u32]| ("x", zeros(shape));
    for operator in ["ArgMax", "ArgMin"] {
        for takes_last in [0, 1] {
            let model = Onnx::new(13)
                .input("x", &two)
                .node(operator, &["x"], "y", &[("axis", 1), ("select_last_index", takes_last)])
                .int_output("y", &two);
            assert_refused(&model, operator, &[x(&[3, 0])]).await;
            assert_refused(&model, operator, &[x(&[0, 0])]).await;
            assert_eq!(run(&*rten(), &model, &[x(&[0, 2])]).await.expect("a run").dimensions, [0, 1]);
        }
    }
    let weighted = Onnx::new(13).input("x", &ANY).input("w", &ANY).output("y", &ANY);
    for (operator, weights) in [("Conv", [2, 0, 2, 2]), ("ConvTranspose", [0, 2, 2, 2])] {
        let model = weighted.clone().node(operator, &["x", "w"], "y", &[]);
        assert_refused(&model, operator, &[x(&[1, 0, 4, 4]), ("w", zeros(&weights))]).await;
    }
    let padded = |constant: bool| {
        let onnx = Onnx::new(13).input("x", &ANY).output("y", &ANY);
        let onnx = if constant { onnx.floats("w", &[1, 1, 2, 2], &[1.0; 4]) } else { onnx.input("w", &ANY) };
        onnx.node("Conv", &["x", "w"], "y", &[]).with_lists(&[("pads", &[1, 1, 1, 1])])
    };
    assert_refused(&padded(true), "Conv", &[x(&[1, 1, 0, 4])]).await;
    assert_refused(&padded(false), "Conv", &[x(&[1, 1, 4, 0]), ("w", zeros(&[1, 1, 2, 2]))]).await;
    assert_eq!(run(&*rten(), &padded(true), &[x(&[1, 1, 2, 2])]).await.expect("a run").dimensions, [1, 1, 3, 3]);
    for operator in ["LayerNormalization", "RMSNormalization"] {
        let model =
            Onnx::new(23).input("x", &two).input("s", &[None]).node(operator, &["x", "s"], "y", &[]).output("y", &two);
        assert_refused(&model, operator, &[x(&[2, 0]), ("s", zeros(&[0]))]).await;
        let output = run(&*rten(), &model, &[x(&[0, 2]), ("s", zeros(&[2]))]).await.expect("a run");
        assert_eq!(output.dimensions, [0, 2], "{operator}");
    }
    for mode in ["linear", "nearest"] {
        let model = Onnx::new(13)
            .input("x", &ANY)
            .int_input("sizes", &[Some(4)])
            .node("Resize", &["x", "", "", "sizes"], "y", &[])
            .with_texts(&[("mode", mode), ("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", "floor")])
            .output("y", &ANY);
        let sizes = ("sizes", ints(&[4], &[1, 1, 2, 2]));
        assert_refused(&model, "Resize", &[x(&[1, 1, 0, 2]), sizes]).await;
    }
    let scattered = Onnx::new(13)
        .input("x", &two)
        .int_input("i", &[None, Some(1)])
        .input("u", &two)
        .node("ScatterND", &["x", "i", "u"], "y", &[])
        .output("y", &two);
    assert_refused(&scattered, "ScatterND", &[x(&[3, 0]), ("i", ints(&[1, 1], &[0])), ("u", zeros(&[1, 0]))]).await;
    let reversed = Onnx::new(13)
        .input("x", &[None])
        .ints("start", &[-1])
        .ints("end", &[-1000])
        .ints("axis", &[0])
        .ints("step", &[-1])
        .node("Slice", &["x", "start", "end", "axis", "step"], "y", &[])
        .output("y", &[None]);
    assert_refused(&reversed, "Slice", &[x(&[0])]).await;
    let output = run(&*rten(), &reversed, &[("x", floats(&[2], &[1.0, 2.0]))]).await.expect("a run");
    assert_eq!(output.data, floats(&[2], &[2.0, 1.0]).data);
}

/// The estimate of a run does not know the size.
#[tokio::test]
async fn a_normalization_of_a_part_that_the_model_computes_is_refused() {
    let three = [None, Some(1), None];
    let model = Onnx::new(13)
        .input("x", &three)
        .int_input("numbers", &[None])
        .ints("first", &[0])
        .ints("width", &[2])
        .floats("one", &[1], &[1.0])
        .node("ReduceSum", &["numbers"], "end", &[("keepdims", 1)])
        .node("Slice", &["x", "first", "end", "first"], "part", &[])
        .node("BatchNormalization", &["part", "one", "one", "one", "one"], "y", &[])
        .output("y", &three);
    let inputs = |numbers: &[i64]| [("x", zeros(&[2, 1, 3])), ("numbers", ints(&[2], numbers))];
    assert_refused(&model, "BatchNormalization", &inputs(&[1, -1])).await;
    assert_eq!(run(&*rten(), &model, &inputs(&[2, -1])).await.expect("a run").dimensions, [1, 1, 3]);
}

/// The guest has the same checks, and an estimate of its own.
#[tokio::test(flavor = "multi_thread")]
async fn the_guest_refuses_values_without_elements() {
    let Some(engine) = crate::model_cases::engines().into_iter().find(|engine| engine.1 == "infer-wasm") else {
        panic!("the plugin is an engine")
    };
    let shape = [None, Some(2), None];
    let main = || Onnx::new(13).input("x", &shape).floats("s", &[2], &[1.0, 1.0]).output("y", &shape);
    let models = [
        ("GlobalAveragePool", main().node("GlobalAveragePool", &["x"], "y", &[])),
        ("BatchNormalization", main().node("BatchNormalization", &["x", "s", "s", "s", "s"], "y", &[])),
    ];
    for (operator, model) in models {
        let server = Stored::new(&model);
        let server = server.serve(engine).await;
        let input = |shape: [usize; 3], data: &[f32]| [crate::stored_model::floats("x", &shape, data)];
        let reply = infer(&server, &input([1, 2, 0], &[])).await;
        assert!(matches!(reply.status, 400 | 422), "{operator}: {} {}", reply.status, reply.text);
        for part in ["node `node_y`", operator, "send inputs with at least one element"] {
            assert!(reply.text.contains(part), "{operator}: `{part}` in {}", reply.text);
        }
        let reply = infer(&server, &input([1, 2, 1], &[1.0, 1.0])).await;
        assert_eq!((reply.status, &reply.json()["outputs"][0]["shape"]), (200, &json!([1, 2, 1])), "{operator}");
    }
}
