//! Numbers that are converted between the types of a request, a guest and a model: what does not fit is refused.

use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{Server, TempDir};
use rten_onnx::onnx::DataType;
use serde_json::json;

use super::datatypes::numbers;
use super::guests::body;
use super::models::pipelines;
use crate::models::onnxruntime;

/// A number that the other type does not have is refused in both directions; nothing is rounded, wrapped or cut.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_a_type_does_not_have_are_refused_by_name() {
    let Some(library) = onnxruntime() else { return };
    let folder = TempDir::new().expect("a folder");
    let names = ["BOOL", "INT8", "UINT16", "UINT64", "FP16"];
    let toml = pipelines(folder.path(), "onnxruntime", Some(&library), &names, "");
    let server = Server::start(&toml).await;
    for (name, datatype, data, word) in [
        ("BOOL", "UINT8", json!([0, 2, 1]), "u8 is converted to bool, which does not have the number 2"),
        ("INT8", "INT32", json!([0, 128, 1]), "i32 is converted to i8, which does not have the number 128"),
        ("UINT16", "INT32", json!([0, -1, 1]), "i32 is converted to u16, which does not have the number -1"),
        ("UINT64", "INT64", json!([0, -1, 1]), "i64 is converted to u64, which does not have the number -1"),
        ("INT8", "UINT8", json!([0, 1, 1]), "i8 is expected, u8 was given"),
        ("INT8", "INT64", json!([0, 1, 1]), "i8 is expected, i64 was given"),
        ("FP16", "FP32", json!([0, 1, 1]), "fp16 is expected, fp32 was given"),
    ] {
        let input = json!({ "name": "x", "shape": [1, 3], "datatype": datatype, "data": data });
        let reply = server.infer_json(&format!("{name}.infer"), &json!({ "inputs": [input] })).await;
        assert_eq!((reply.status, &reply.json()["code"]), (400, &json!("tensor_mismatch")), "{}", reply.text);
        assert!(reply.text.contains(word) && reply.text.contains("input `x`"), "{name}: {}", reply.text);
        // The same from a preprocess plugin, whose fault it is.
        if word.contains("converted") {
            let size = match datatype {
                "UINT8" => 1,
                "INT32" => 4,
                _ => 8,
            };
            let numbers = data.as_array().expect("a list").iter().map(|it| it.as_i64().expect("a number"));
            let row: Vec<u8> = numbers.flat_map(|number| number.to_le_bytes()[..size].to_vec()).collect();
            let reply = server.infer(name, "", body(datatype, [1, 3], &row)).await;
            assert!(reply.status == 500 && reply.text.contains(word), "{name}: {}", reply.text);
        }
    }
    // A plugin that reads numbers which `wasi:nn` has no type for. The infer stage alone returns them.
    let large = numbers!(u64, 1, u64::MAX, 2);
    let input = json!({ "name": "x", "shape": [1, 3], "datatype": "UINT64", "data": large.json });
    let reply = server.infer_json("UINT64.infer", &json!({ "inputs": [input] })).await;
    assert_eq!(reply.json()["outputs"][0]["data"][1], u64::MAX, "{}", reply.text);
    server.stop().await;

    let file = folder.path().join("UINT64.onnx");
    let negated = Onnx::new(18)
        .typed_input("x", &[None, Some(3)], DataType::UINT64)
        .node("BitwiseNot", &["x"], "y", &[])
        .typed_output("y", &[None, Some(3)], DataType::UINT64)
        .bytes();
    let toml = pipelines(folder.path(), "onnxruntime", Some(&library), &["UINT64"], "");
    std::fs::write(&file, negated).expect("written");
    let server = Server::start(&toml).await;
    let reply = server.infer("UINT64", "", body("INT64", [1, 3], &[0; 24])).await;
    assert_eq!((reply.status, reply.code().as_str()), (500, "tensor_mismatch"), "{}", reply.text);
    let word = "u64 is converted to i64, which does not have the number 18446744073709551615";
    assert!(reply.text.contains(word), "{}", reply.text);
    server.stop().await;
}

/// A plugin cannot make the host hold the wider elements of a tensor that do not fit into its memory.
#[tokio::test(flavor = "multi_thread")]
async fn the_wider_elements_of_a_tensor_count_against_the_memory_of_the_plugin() {
    let Some(library) = onnxruntime() else { return };
    let folder = TempDir::new().expect("a folder");
    let toml = pipelines(folder.path(), "onnxruntime", Some(&library), &["INT8"], "").replace(
        "plugin = \"tensors-postprocess\"",
        "plugin = \"tensors-postprocess\"\nconfig = { format = \"npz\" }\nmax_memory = \"32MiB\"",
    );
    let toml = toml.replace("plugin = \"given-tensors\"", "plugin = \"given-tensors\"\nmax_memory = \"256MiB\"");
    let large = Onnx::new(13)
        .typed_input("x", &[None, Some(3)], DataType::INT32)
        .node("Cast", &["x"], "y", &[("to", 3)])
        .typed_output("y", &[None, Some(3)], DataType::INT8)
        .bytes();
    std::fs::write(folder.path().join("INT8.onnx"), large).expect("written");
    let server = Server::start(&format!("[server]\nmax_body = \"64MiB\"\n{toml}")).await;
    let rows = 3 << 20;
    let reply = server.infer("INT8", "", body("INT32", [rows, 3], &vec![0; rows * 12])).await;
    assert_eq!(reply.code(), "memory_limit", "{}", reply.text);
    assert!(reply.text.contains("the elements of a tensor would need 37748736 bytes"), "{}", reply.text);
    server.stop().await;
}
