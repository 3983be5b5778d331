//! Values without elements, ranges of fractions and long attentions: right on every backend, or refused before the engine runs.

use std::path::Path;
use std::sync::Arc;

use plimsoll_runtime::nn::{Backend, BackendName, LoadedModel};
use plimsoll_runtime::scheduling::Scheduling;
use plimsoll_runtime::tensor::{Tensor, TensorType};
use plimsoll_tests::onnx::Onnx;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::batch_rows::source;

/// The native backends with their names.
pub(crate) fn backends() -> Vec<(&'static str, Box<dyn Backend>)> {
    let open = |name: &str, settings: serde_json::Value| {
        name.parse::<BackendName>().expect("known").open(&settings, Path::new("")).expect("opened")
    };
    let mut backends = vec![("rten", open("rten", serde_json::Value::Null))];
    if let Some(library) = crate::models::onnxruntime() {
        backends.push(("onnxruntime", open("onnxruntime", json!({ "library": library, "sessions": 1 }))));
    }
    backends
}

pub(crate) fn floats(shape: &[u32], values: &[f32]) -> Tensor {
    Tensor::new(shape.to_vec(), TensorType::Fp32, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

/// Runs a model as the host does, with its limits.
pub(crate) async fn run(backend: &dyn Backend, model: &Onnx, inputs: &[(&str, Tensor)]) -> Result<Tensor, String> {
    let source = source(model.bytes());
    let loaded = backend.load(&source).map_err(|error| error.to_string())?;
    let permits = Arc::new(Semaphore::new(1));
    let loaded = LoadedModel::new("m".into(), String::new(), &source.bytes, loaded, permits, None, Scheduling::Fair)
        .expect("loaded");
    let loaded = Arc::new(loaded);
    let inputs = inputs.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())).collect();
    loaded.run(inputs).await.map(|mut outputs| outputs.remove(0).1).map_err(|error| error.message)
}

#[tokio::test]
async fn a_product_of_matrices_without_columns_is_zero() {
    for (name, backend) in backends() {
        for (left, right, shape, count) in [
            (vec![2, 0], vec![0, 3], vec![2, 3], 6),
            (vec![2, 2, 0], vec![0, 1], vec![2, 2, 1], 4),
            (vec![0, 3], vec![3, 2], vec![0, 2], 0),
            (vec![2, 3], vec![3, 0], vec![2, 0], 0),
        ] {
            let dynamic = |shape: &[u32]| vec![None; shape.len()];
            let model = Onnx::new(13)
                .input("x", &dynamic(&left))
                .input("w", &dynamic(&right))
                .node("MatMul", &["x", "w"], "y", &[])
                .output("y", &dynamic(&shape));
            let ones = |shape: &[u32]| floats(shape, &vec![1.0; shape.iter().product::<u32>() as usize]);
            let result = run(&*backend, &model, &[("x", ones(&left)), ("w", ones(&right))]).await;
            let output = result.unwrap_or_else(|error| panic!("{name}, {left:?} · {right:?}: {error}"));
            assert_eq!(output.dimensions, shape, "{name}");
            assert_eq!(output.data, floats(&shape, &vec![0.0; count]).data, "{name}, {left:?} · {right:?}");
        }
    }
}

#[tokio::test]
async fn a_normalization_of_no_elements_is_refused_with_the_node() {
    let ones = |onnx: Onnx, names: &[&str]| names.iter().fold(onnx, |onnx, name| onnx.floats(name, &[2], &[1.0, 1.0]));
    let main = || Onnx::new(13).input("x", &[None, Some(2), None]).output("y", &[None, Some(2), None]);
    let batch = ones(main(), &["s", "b", "m", "v"]).node("BatchNormalization", &["x", "s", "b", "m", "v"], "y", &[]);
    let instance = ones(main(), &["s", "b"]).node("InstanceNormalization", &["x", "s", "b"], "y", &[]);
    for (name, backend) in backends() {
        for (model, operator) in [(&batch, "BatchNormalization"), (&instance, "InstanceNormalization")] {
            for shape in [[0, 2, 3], [1, 2, 0]] {
                let error = run(&*backend, model, &[("x", floats(&shape, &[]))]).await.expect_err("refused");
                for part in ["node `node_y`", operator, "without elements", "send inputs with at least one element"] {
                    assert!(error.contains(part), "{name}: `{part}` in {error}");
                }
            }
            let output = run(&*backend, model, &[("x", floats(&[1, 2, 2], &[1.0; 4]))]).await.expect("a run");
            assert_eq!(output.dimensions, [1, 2, 2], "{name}");
        }
    }
}

/// Engines give 0, NaN or negative infinity.
#[tokio::test]
async fn the_mean_and_the_largest_of_no_elements_are_refused_with_the_node() {
    let of = |operator: &str| {
        let model = Onnx::new(13).input("x", &[Some(1), Some(2), None, Some(2)]).node(operator, &["x"], "y", &[]);
        let model = if operator == "ReduceMean" { model.with_lists(&[("axes", &[2])]) } else { model };
        model.output("y", &[Some(1), Some(2), Some(1), None])
    };
    for (name, backend) in backends() {
        for operator in ["ReduceMean", "GlobalAveragePool", "GlobalMaxPool"] {
            let none = floats(&[1, 2, 0, 2], &[]);
            let error = run(&*backend, &of(operator), &[("x", none)]).await.expect_err("refused");
            for part in ["node `node_y`", operator, "without elements"] {
                assert!(error.contains(part), "{name}: `{part}` in {error}");
            }
        }
    }
    for (name, backend) in backends() {
        let mean = Onnx::new(13).input("x", &[None, Some(2)]).node("ReduceMean", &["x"], "y", &[]);
        let mean = mean.with_lists(&[("axes", &[1])]).output("y", &[None, Some(1)]);
        let output = run(&*backend, &mean, &[("x", floats(&[0, 2], &[]))]).await.expect("no means");
        assert_eq!(output.dimensions, [0, 1], "{name}");
        let output = run(&*backend, &mean, &[("x", floats(&[1, 2], &[1.0, 2.0]))]).await.expect("a mean");
        assert_eq!(output.data, floats(&[1, 1], &[1.5]).data, "{name}");
    }
}

#[tokio::test]
async fn parts_of_stated_sizes_that_drop_their_axis_are_rejected() {
    let part = |keeps: i64| {
        Onnx::new(13)
            .input("x", &[Some(3), Some(2)])
            .ints("sizes", &[1, 1, 1])
            .int_scalar("last", 2)
            .node("SplitToSequence", &["x", "sizes"], "parts", &[("axis", 0), ("keepdims", keeps)])
            .node("SequenceAt", &["parts", "last"], "y", &[])
            .output("y", &[None, Some(2)])
    };
    let x = floats(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    for (name, backend) in backends() {
        let error = run(&*backend, &part(0), &[("x", x.clone())]).await.expect_err("rejected");
        for word in ["node `node_parts`", "SplitToSequence", "keepdims = 0"] {
            assert!(error.contains(word), "{name}: `{word}` in {error}");
        }
        let output = run(&*backend, &part(1), &[("x", x.clone())]).await.expect("a run");
        assert_eq!((output.dimensions, output.data), (vec![1, 2], floats(&[2], &[5.0, 6.0]).data), "{name}");
    }
}

/// A range that every request would be refused for is rejected when the model is loaded.
#[tokio::test]
async fn a_range_with_a_constant_step_that_is_no_whole_number_is_rejected() {
    let range = |start: f32, step: f32| {
        Onnx::new(13)
            .input("limit", &[])
            .floats("start", &[], &[start])
            .floats("step", &[], &[step])
            .node("Range", &["start", "limit", "step"], "y", &[])
            .output("y", &[None])
    };
    for (name, backend) in backends() {
        for (start, step, word) in
            [(0.0, 0.1, "`delta` is 0.1"), (0.5, 1.0, "`start` is 0.5"), (0.0, 2e9, "`delta` is 2000000000")]
        {
            let result = run(&*backend, &range(start, step), &[("limit", floats(&[], &[0.75]))]).await;
            if name == "onnxruntime" {
                assert!(result.is_ok(), "{result:?}");
                continue;
            }
            let error = result.expect_err("rejected");
            for word in ["node `node_y` (Range, operator set 13)", word, "multiply it by the step", "`onnxruntime`"] {
                assert!(error.contains(word), "`{word}` in {error}");
            }
        }
        let output = run(&*backend, &range(1.0, 2.0), &[("limit", floats(&[], &[6.0]))]).await.expect("a run");
        assert_eq!(output.data, floats(&[3], &[1.0, 3.0, 5.0]).data, "{name}");
    }
}

/// The scores are more than any input or output.
#[tokio::test]
async fn an_attention_over_a_long_text_is_refused() {
    let dims = [Some(1), None, Some(8)];
    let model = Onnx::new(23)
        .input("q", &dims)
        .node("Attention", &["q", "q", "q"], "y", &[("q_num_heads", 2), ("kv_num_heads", 2)])
        .output("y", &dims);
    for (name, backend) in backends() {
        let text = |length: u32| [("q", floats(&[1, length, 8], &vec![0.5; length as usize * 8]))];
        let output = run(&*backend, &model, &text(3)).await.expect("a run");
        assert_eq!((output.dimensions, output.data), (vec![1, 3, 8], floats(&[24], &[0.5; 24]).data), "{name}");
        let error = run(&*backend, &model, &text(20_000)).await.expect_err("refused");
        for part in ["node `node_y` (Attention)", "800000000 elements", "send smaller inputs"] {
            assert!(error.contains(part), "{name}: `{part}` in {error}");
        }
    }
}
