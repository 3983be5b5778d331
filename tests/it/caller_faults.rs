//! What is wrong with the tensors of a caller has the same status on every engine: 400 with the reason. The guest
//! `infer-wasm` used to answer some of it with 500 `internal`, without a reason.

use plimsoll_tests::onnx::Onnx;
use serde_json::{Value, json};

use crate::stored_model::{Stored, floats, infer};

fn ints(name: &str, shape: &[usize], data: &[i64]) -> Value {
    json!({ "name": name, "shape": shape, "datatype": "INT64", "data": data })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_tensors_of_a_caller_is_400_on_every_engine() {
    let model = Onnx::new(16)
        .input("x", &[Some(2), Some(3)])
        .int_input("rows", &[None])
        .int_input("places", &[None, Some(2)])
        .int_input("shape", &[None])
        .input("slope", &[None])
        .node("Gather", &["x", "rows"], "gathered", &[])
        .node("GatherND", &["x", "places"], "picked", &[])
        .node("ScatterND", &["x", "places", "updates"], "scattered", &[])
        .node("Reshape", &["x", "shape"], "shaped", &[])
        .node("PRelu", &["x", "slope"], "sloped", &[])
        .input("updates", &[None])
        .output("gathered", &[None, Some(3)])
        .output("picked", &[None])
        .output("scattered", &[Some(2), Some(3)])
        .output("shaped", &[None, None])
        .output("sloped", &[Some(2), Some(3)]);
    let stored = Stored::new(&model);
    let right = [
        floats("x", &[2, 3], &[1.0, -2.0, 3.0, 4.0, 5.0, 6.0]),
        ints("rows", &[1], &[1]),
        ints("places", &[1, 2], &[0, 2]),
        ints("shape", &[2], &[3, 2]),
        floats("slope", &[3], &[0.5, 0.5, 0.5]),
        floats("updates", &[1], &[9.0]),
    ];
    let wrong = [
        ("an index of Gather", ints("rows", &[1], &[2])),
        ("a negative index of Gather", ints("rows", &[1], &[-3])),
        ("an index of GatherND", ints("places", &[1, 2], &[0, 3])),
        ("a shape", ints("shape", &[2], &[4, 2])),
        ("a shape with two unknown sizes", ints("shape", &[2], &[-1, -1])),
        ("a slope", floats("slope", &[2], &[0.5, 0.5])),
        ("the number of updates", floats("updates", &[2], &[9.0, 9.0])),
        ("an integer", ints("rows", &[1], &[1 << 40])),
        ("a negative integer", ints("shape", &[2], &[-(1 << 40), 2])),
    ];
    for engine in crate::model_cases::engines() {
        let server = stored.serve(engine).await;
        let reply = infer(&server, &right).await;
        assert_eq!(reply.status, 200, "{engine:?}: {}", reply.text);
        let outputs = reply.json()["outputs"].clone();
        for (index, expected) in [
            json!([4.0, 5.0, 6.0]),
            json!([3.0]),
            json!([1.0, -2.0, 9.0, 4.0, 5.0, 6.0]),
            json!([1.0, -2.0, 3.0, 4.0, 5.0, 6.0]),
            json!([1.0, -1.0, 3.0, 4.0, 5.0, 6.0]),
        ]
        .iter()
        .enumerate()
        {
            assert_eq!(&outputs[index]["data"], expected, "{engine:?}, output {index}");
        }
        for (what, tensor) in &wrong {
            let tensors =
                right.clone().map(|right| if right["name"] == tensor["name"] { tensor.clone() } else { right });
            let reply = infer(&server, &tensors).await;
            // onnxruntime has 64-bit integers: for it, the large ones are indices and sizes that do not fit.
            let problem = reply.json();
            assert_eq!(
                (reply.status, &problem["code"]),
                (400, &json!("tensor_mismatch")),
                "{engine:?}, {what}: {problem}"
            );
            let detail = problem["detail"].as_str().expect("text");
            assert!(detail.len() > 20 && !detail.contains("internal"), "{engine:?}, {what}: {detail}");
        }
        assert_eq!(infer(&server, &right).await.status, 200, "{engine:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_without_elements_do_not_end_the_guest() {
    let model = Onnx::new(13)
        .input("x", &[Some(2), Some(3)])
        .input("none", &[Some(2), Some(0)])
        .floats("weights", &[0, 3], &[])
        .node("MatMul", &["none", "weights"], "product", &[])
        .node("Add", &["x", "product"], "y", &[])
        .output("y", &[Some(2), Some(3)]);
    let stored = Stored::new(&model);
    for engine in crate::model_cases::engines() {
        let server = stored.serve(engine).await;
        let numbers = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let reply = infer(&server, &[floats("x", &[2, 3], &numbers), floats("none", &[2, 0], &[])]).await;
        assert_eq!(
            (reply.status, &reply.json()["outputs"][0]["data"]),
            (200, &json!(numbers)),
            "{engine:?}: {}",
            reply.text
        );
    }
}
