//! Shapes that a file states for values of loops and branches, which may be out of date: they do not change an answer.

use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{Server, TempDir};
use rten_onnx::onnx::DataType;
use serde_json::json;

use crate::model_cases::{assert_output, config, engines};
use crate::stored_model::floats;

/// Doubles `x` twice in a loop, then multiplies the constant matrix `a` with it. The file states a shape for what the loop
/// returns, in its body and around it.
fn doubled(claimed: &[Option<i64>]) -> Onnx {
    let body = Onnx::new(13)
        .typed_input("round", &[], DataType::INT64)
        .typed_input("goes_on", &[], DataType::BOOL)
        .input("state", claimed)
        .node("Identity", &["goes_on"], "still_goes_on", &[])
        .node("Add", &["state", "state"], "next", &[])
        .typed_output("still_goes_on", &[], DataType::BOOL)
        .output("next", claimed);
    Onnx::new(13)
        .input("x", &[None, None])
        .floats("a", &[2, 2], &[1.0, 2.0, 3.0, 4.0])
        .int_scalar("rounds", 2)
        .node("Loop", &["rounds", "", "x"], "last", &[])
        .with_graph("body", body)
        .claim("last", claimed)
        .node("MatMul", &["a", "last"], "product", &[])
        .node("Shape", &["product"], "shape", &[])
        .node("Cast", &["shape"], "sizes", &[("to", crate::stored_model::FLOAT)])
        .output("product", &[None, None])
        .output("sizes", &[None])
}

/// Without the shapes, the engine is right: with those of another number of dimensions it is right too, or the request is
/// refused with the value's name.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_shape_of_what_a_loop_returns_is_found_or_does_not_matter() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("model.onnx");
    let (mut right, mut refused) = (0, 0);
    let claims: [&[Option<i64>]; 5] =
        [&[None, None], &[Some(2), Some(2)], &[Some(7), Some(1)], &[Some(2)], &[Some(2), Some(2), Some(2)]];
    for claimed in claims {
        std::fs::write(&file, doubled(claimed).bytes()).expect("written");
        // onnxruntime itself rejects some of these files.
        for engine in engines().into_iter().filter(|engine| *engine == ("rten", "infer-native")) {
            let what = format!("{claimed:?} on {engine:?}");
            let config = config(&file, engine, "").replace("input = \"image\"", "max_pixels = 1");
            let server = Server::start(&config).await;
            let inputs = [floats("x", &[2, 2], &[1.0, 2.0, 3.0, 4.0])];
            let reply = server.infer_json("p.infer", &json!({ "inputs": inputs })).await;
            if reply.status == 200 {
                right += 1;
                let outputs = &reply.json()["outputs"];
                assert_output(&outputs[0], &json!([2, 2]), &[28.0, 40.0, 60.0, 88.0], &what);
                assert_output(&outputs[1], &json!([2]), &[2.0, 2.0], &what);
            } else {
                refused += 1;
                assert_eq!(reply.status, 400, "{what}: {}", reply.text);
                for part in ["dimensions that the file states", "infer_shapes"] {
                    assert!(reply.text.contains(part), "{what}: {}", reply.text);
                }
                assert_ne!(claimed.len(), 2, "{what}: {}", reply.text);
            }
        }
    }
    assert!(right >= 3 && refused > 0, "{right} right, {refused} refused");
}
