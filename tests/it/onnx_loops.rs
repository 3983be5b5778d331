//! Loops that may run 0 times, and collect values: right on rten, or refused with the reason.

use plimsoll_runtime::tensor::{Tensor, TensorType};
use plimsoll_tests::onnx::Onnx;
use rten_onnx::onnx::DataType;

use crate::batch_rows::source;
use crate::onnx_empty::{backends, floats, run};

/// Doubles `x` in each of `rounds` rounds, and collects what it gets; `is_list` returns the collected values, and not the
/// last.
fn doubling(main: Onnx, inputs: [&str; 2], collected: Option<&[Option<i64>]>, is_list: bool) -> Onnx {
    let body = Onnx::new(13)
        .typed_input("round", &[], DataType::INT64)
        .typed_input("goes_on", &[], DataType::BOOL)
        .input("state", &[None])
        .node("Identity", &["goes_on"], "still_goes_on", &[])
        .node("Add", &["state", "state"], "next", &[])
        .node("Identity", &["next"], "item", &[])
        .typed_output("still_goes_on", &[], DataType::BOOL)
        .output("next", &[None]);
    let body = match collected {
        Some(shape) => body.output("item", shape),
        None => body.open_output("item"),
    };
    let (y, other) = if is_list { ("last", "y") } else { ("y", "list") };
    let shape: &[Option<i64>] = if is_list { &[None, None] } else { &[None] };
    main.input("x", &[Some(2)])
        .node("Loop", &[inputs[0], inputs[1], "x"], y, &[])
        .with_outputs(&[other])
        .with_graph("body", body)
        .output("y", shape)
}

fn scalar(value: i64) -> Tensor {
    Tensor::new(Vec::new(), TensorType::I64, value.to_le_bytes().to_vec())
}

fn boolean(value: bool) -> Tensor {
    Tensor::new(Vec::new(), TensorType::Bool, vec![u8::from(value)])
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

#[tokio::test]
async fn a_loop_without_rounds_gives_empty_lists_and_its_starts() {
    // onnxruntime rejects bodies without a name, which these are.
    for (name, backend) in backends().into_iter().filter(|(name, _)| *name == "rten") {
        for (rounds, goes_on, expected) in
            [(0, true, 0), (-1, true, 0), (3, false, 0), (1, true, 1), (3, true, 3), (0, false, 0)]
        {
            for is_list in [true, false] {
                let main = Onnx::new(13).int_input("rounds", &[]).typed_input("runs", &[], DataType::BOOL);
                let model = doubling(main, ["rounds", "runs"], Some(&[Some(2)]), is_list);
                let inputs = [("rounds", scalar(rounds)), ("runs", boolean(goes_on)), ("x", floats(&[2], &[1.0, 3.0]))];
                let what = format!("{name}, {rounds} rounds, {goes_on}, {is_list}");
                let output = run(&*backend, &model, &inputs).await.unwrap_or_else(|error| panic!("{what}: {error}"));
                if is_list {
                    let right: Vec<f32> =
                        (1..=expected).flat_map(|round| [1.0, 3.0].map(|x| x * f32::powi(2.0, round))).collect();
                    assert_eq!(
                        (output.dimensions.as_slice(), numbers(&output)),
                        ([expected as u32, 2].as_slice(), right),
                        "{what}"
                    );
                } else {
                    assert_eq!(numbers(&output), [1.0, 3.0].map(|x| x * f32::powi(2.0, expected)), "{what}");
                }
            }
        }
        // A constant number of rounds.
        for rounds in [0, 2] {
            let main = Onnx::new(13).int_scalar("rounds", rounds);
            let model = doubling(main, ["rounds", ""], Some(&[Some(2)]), true);
            let output = run(&*backend, &model, &[("x", floats(&[2], &[1.0, 3.0]))]).await;
            let output = output.unwrap_or_else(|error| panic!("{name}, {rounds} rounds: {error}"));
            assert_eq!(output.dimensions, [rounds as u32, 2], "{name}");
        }
    }
}

/// onnxruntime takes 0 for a size that it does not know.
#[tokio::test]
async fn a_loop_without_rounds_whose_items_have_no_known_sizes_is_refused_with_its_name() {
    let Some((_, rten)) = backends().into_iter().find(|(name, _)| *name == "rten") else { return };
    for shape in [Some(&[None] as &[Option<i64>]), None] {
        let model = doubling(Onnx::new(13).int_input("rounds", &[]), ["rounds", ""], shape, true);
        let of = |rounds: i64| [("rounds", scalar(rounds)), ("x", floats(&[2], &[1.0, 3.0]))];
        let output = run(&*rten, &model, &of(2)).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(numbers(&output), [2.0, 6.0, 4.0, 12.0]);
        let error = run(&*rten, &model, &of(0)).await.expect_err("refused");
        for part in ["loop `node_last` has no rounds", "state the shapes of the outputs of its body", "onnxruntime"] {
            assert!(error.contains(part), "`{part}` in {error}");
        }
    }
}

#[test]
fn a_loop_whose_body_does_not_fit_is_rejected() {
    let body = |states: usize| {
        let start =
            Onnx::new(13).typed_input("round", &[], DataType::INT64).typed_input("goes_on", &[], DataType::BOOL);
        let names: Vec<String> = (0..states).map(|index| format!("state{index}")).collect();
        let body = names.iter().fold(start, |body, name| body.input(name, &[None]));
        let body = body.node("Identity", &["goes_on"], "still", &[]).typed_output("still", &[], DataType::BOOL);
        body.node("Neg", &["x"], "next", &[]).output("next", &[None])
    };
    for states in [0, 2] {
        let model = Onnx::new(13)
            .input("x", &[None])
            .int_scalar("rounds", 2)
            .node("Loop", &["rounds", "", "x"], "y", &[])
            .with_graph("body", body(states))
            .output("y", &[None]);
        for (name, backend) in backends() {
            let error = backend.load(&source(model.bytes())).err().expect("rejected").to_string();
            // onnxruntime has its own words.
            assert!(
                name != "rten" || error.contains("node `node_y` (Loop") && error.contains("body that fits"),
                "{error}"
            );
        }
    }
}
