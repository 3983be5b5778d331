//! `BatchNormalization` in training mode, which older operator sets state by the number of outputs.

use plimsoll_runtime::tensor::Tensor;
use plimsoll_tests::onnx::Onnx;
use rten_onnx::onnx::DataType;

use crate::batch_rows::source;
use crate::onnx_division::{calling, field, function_of, node};
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
    for ([scale, bias, mean, variance], is_read) in [
        (["one", "zero", "zero", "variance"], false),
        (["one", "zero", "mean", "one"], false),
        (["one", "zero", "mean", "mean"], false),
        // A node reads the running mean.
        (["one", "zero", "mean", "variance"], true),
    ] {
        let model = Onnx::new(15).input("x", &SHAPE).floats("one", &[1], &[1.0]).floats("zero", &[1], &[0.0]);
        let model = model.floats("mean", &[1], &[0.0]).floats("variance", &[1], &[1.0]);
        let model = model
            .node("BatchNormalization", &["x", scale, bias, mean, variance], "y", &[("training_mode", 1)])
            .with_outputs(&["m", "v"])
            .output("y", &SHAPE);
        let model = if is_read { model.node("Add", &["m", "one"], "z", &[]).output("z", &[Some(1)]) } else { model };
        let error = run(&*backend, &model, &x()).await.expect_err("rejected");
        for part in
            ["node `node_y` (BatchNormalization in training mode)", "overwrites", "export the model for inference"]
        {
            assert!(error.contains(part), "{mean} {variance}: `{part}` in {error}");
        }
    }
}

/// A training in an inner graph, with the constants of the graph around it. It adds nothing else.
fn inner(main: Onnx, inputs: &[(&str, DataType)], opset: i64) -> Onnx {
    let mode: &[(&str, i64)] = if opset >= 14 { &[("training_mode", 1)] } else { &[] };
    let body = inputs.iter().fold(main, |body, &(name, ty)| body.typed_input(name, &[], ty));
    body.node("BatchNormalization", &["x", "one", "zero", "mean", "variance"], "inner", mode)
        .with_outputs(&["m", "v"])
        .output("inner", &SHAPE)
}

/// The constants of the main graph are shared with inner graphs, and a loop runs the same node again: each run would change
/// what the next one computes.
#[tokio::test]
async fn training_in_branches_and_loops_is_rejected() {
    let Some((_, backend)) = backends().into_iter().find(|(name, _)| *name == "onnxruntime") else { return };
    for opset in [13, 15] {
        let start = || {
            let onnx = Onnx::new(opset).input("x", &SHAPE).floats("one", &[1], &[1.0]).floats("zero", &[1], &[0.0]);
            onnx.floats("mean", &[1], &[0.0]).floats("variance", &[1], &[1.0])
        };
        let branch = inner(Onnx::new(opset), &[], opset);
        let copy = Onnx::new(opset).node("Identity", &["x"], "copy", &[]).output("copy", &SHAPE);
        let branches = start()
            .typed("is_true", &[], DataType::BOOL, &[1])
            .node("If", &["is_true"], "y", &[])
            .with_graph("then_branch", branch)
            .with_graph("else_branch", copy)
            .output("y", &SHAPE);
        let round = [("round", DataType::INT64), ("goes_on", DataType::BOOL)];
        let body = Onnx::new(opset).node("Identity", &["goes_on"], "still_goes_on", &[]).typed_output(
            "still_goes_on",
            &[],
            DataType::BOOL,
        );
        let looped = start()
            .int_scalar("rounds", 3)
            .node("Loop", &["rounds", ""], "y", &[])
            .with_graph("body", inner(body, &round, opset))
            .output("y", &[None, None, Some(1)]);
        let scanned = start()
            .node("Scan", &["x"], "y", &[("num_scan_inputs", 1)])
            .with_graph("body", inner(Onnx::new(opset), &[("row", DataType::FLOAT)], opset))
            .output("y", &[None, None, Some(1)]);
        for (what, model) in [("If", branches), ("Loop", looped), ("Scan", scanned)] {
            let error = run(&*backend, &model, &x()).await.expect_err(what);
            for part in
                ["node `node_inner` (BatchNormalization in training mode)", "is in a function, a branch or a loop"]
            {
                assert!(error.contains(part), "{what}, operator set {opset}: `{part}` in {error}");
            }
        }
    }
}

/// The mode is stated, or given by the call.
#[test]
fn training_in_a_function_is_rejected() {
    let Some((_, backend)) = backends().into_iter().find(|(name, _)| *name == "onnxruntime") else { return };
    let training = |mode: &[u8]| {
        let mut nodes = node("BatchNormalization", "", &["a", "b", "b", "b", "b"], "c");
        field(&mut nodes, 2, b"m");
        field(&mut nodes, 2, b"v");
        field(&mut nodes, 5, &[b"\x0A\x0Dtraining_mode\xA0\x01\x02".as_slice(), mode].concat());
        source(calling(DataType::FLOAT, &[function_of("Outer", &[nodes])]))
    };
    for mode in [b"\x18\x01".as_slice(), b"\xAA\x01\x01t"] {
        let error = backend.load(&training(mode)).err().expect("rejected").to_string();
        for part in ["node `c` (BatchNormalization in training mode)", "is in a function, a branch or a loop"] {
            assert!(error.contains(part), "{mode:?}: `{part}` in {error}");
        }
    }
}
