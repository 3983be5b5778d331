//! `BatchNormalization` in training mode, which older operator sets state by the number of outputs.

use plimsoll_runtime::tensor::Tensor;
use plimsoll_tests::onnx::Onnx;

use crate::onnx_empty::{backends, floats, run};

const SHAPE: [Option<i64>; 2] = [None, Some(1)];

fn normalized(opset: i64, others: &[&str]) -> Onnx {
    let onnx = Onnx::new(opset).input("x", &SHAPE).floats("one", &[1], &[1.0]).floats("zero", &[1], &[0.0]);
    // onnxruntime writes the running statistics over the given ones, so no other input may share them.
    let onnx = onnx.floats("mean", &[1], &[0.0]).floats("variance", &[1], &[1.0]);
    onnx.node("BatchNormalization", &["x", "one", "zero", "mean", "variance"], "y", &[])
        .with_outputs(others)
        .output("y", &SHAPE)
}

/// Of [1, 3] the mean is 2 and the variance 1; the model's own are 0 and 1.
const TRAINED: [f32; 2] = [-1.0, 1.0];

fn x() -> [(&'static str, Tensor); 1] {
    [("x", floats(&[2, 1], &[1.0, 3.0]))]
}

fn assert_close(tensor: &Tensor, right: &[f32]) {
    let numbers: Vec<f32> = tensor.data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    assert!(numbers.iter().zip(right).all(|(given, right)| (given - right).abs() < 1e-3), "{numbers:?}");
}

#[tokio::test]
async fn training_by_the_number_of_outputs_is_not_computed_as_inference() {
    for (name, backend) in backends() {
        for opset in [7, 9, 13] {
            let trained = run(&*backend, &normalized(opset, &["m", "v", "sm", "sv"]), &x()).await;
            if name == "onnxruntime" {
                assert_close(&trained.unwrap_or_else(|error| panic!("{opset}: {error}")), &TRAINED);
            } else {
                let error = trained.expect_err("rejected");
                for part in ["node `node_y` (BatchNormalization", "training mode", "export the model for inference"] {
                    assert!(error.contains(part), "{name}, operator set {opset}: `{part}` in {error}");
                }
            }
            let output = run(&*backend, &normalized(opset, &[]), &x()).await.expect("a run");
            assert_close(&output, &[1.0, 3.0]);
        }
    }
}

/// onnxruntime would write the mean and the variance to an address that is no memory.
#[tokio::test]
async fn training_without_names_of_the_mean_and_the_variance_does_not_end_the_process() {
    for (name, backend) in backends() {
        for others in [["", "", "", ""], ["m", "", "", ""], ["", "v", "sm", "sv"]] {
            let result = run(&*backend, &normalized(9, &others), &x()).await;
            if name == "onnxruntime" {
                assert_close(&result.unwrap_or_else(|error| panic!("{others:?}: {error}")), &TRAINED);
            } else {
                assert!(result.expect_err("rejected").contains("training mode"), "{name}");
            }
        }
    }
}

/// Otherwise each run would change what the next one computes.
#[tokio::test]
async fn training_whose_statistics_are_read_elsewhere_is_rejected() {
    // Without the library, the reason is printed.
    let Some((_, backend)) = backends().into_iter().find(|(name, _)| *name == "onnxruntime") else { return };
    for [scale, bias, mean, variance] in
        [["one", "zero", "zero", "variance"], ["one", "zero", "mean", "one"], ["one", "zero", "mean", "mean"]]
    {
        let model = Onnx::new(15).input("x", &SHAPE).floats("one", &[1], &[1.0]).floats("zero", &[1], &[0.0]);
        let model = model.floats("mean", &[1], &[0.0]).floats("variance", &[1], &[1.0]);
        let model = model
            .node("BatchNormalization", &["x", scale, bias, mean, variance], "y", &[("training_mode", 1)])
            .with_outputs(&["m", "v"])
            .output("y", &SHAPE);
        let error = run(&*backend, &model, &x()).await.expect_err("rejected");
        for part in
            ["node `node_y` (BatchNormalization in training mode)", "overwrites", "export the model for inference"]
        {
            assert!(error.contains(part), "{mean} {variance}: `{part}` in {error}");
        }
    }
}
