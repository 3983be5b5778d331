//! For tests: a model that the test has made, on every engine that the rules are for.

use std::path::{Path, PathBuf};

use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{Reply, Server, TempDir};
use serde_json::{Value, json};

use crate::model_cases::assert_output;

/// ONNX's number of the type FLOAT, which `Cast` takes.
pub(crate) const FLOAT: i64 = 1;

/// The native backends. `infer-wasm` uses the same rules, and the node tests run them there. Here, it would need
/// seconds for each model.
pub(crate) fn engines() -> Vec<(&'static str, &'static str)> {
    crate::model_cases::engines().into_iter().filter(|engine| engine.1 == "infer-native").collect()
}

/// A pipeline `p` with the model. Its preprocess stage accepts no sample, because the models take no images.
pub(crate) fn config(file: &Path, engine: (&'static str, &'static str)) -> String {
    let model = rten_onnx::onnx::ModelProto::parse_buf(&std::fs::read(file).expect("a model")).expect("a model");
    let input = model.graph.and_then(|graph| graph.input.into_iter().next()?.name).expect("an input");
    let keys = format!("input = {input:?}, max_pixels = 1");
    crate::model_cases::config(file, engine, "").replace("input = \"image\"", &keys)
}

/// A model in its own folder.
pub(crate) struct Stored {
    pub(crate) folder: TempDir,
    pub(crate) file: PathBuf,
}

impl Stored {
    pub(crate) fn new(model: &Onnx) -> Self {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("model.onnx");
        std::fs::write(&file, model.bytes()).expect("written");
        Self { folder, file }
    }

    pub(crate) async fn serve(&self, engine: (&'static str, &'static str)) -> Server {
        Server::start(&config(&self.file, engine)).await
    }
}

pub(crate) fn floats(name: &str, shape: &[usize], data: &[f32]) -> Value {
    json!({ "name": name, "shape": shape, "datatype": "FP32", "data": data })
}

pub(crate) async fn infer(server: &Server, inputs: &[Value]) -> Reply {
    server.infer_json("p.infer", &json!({ "inputs": inputs })).await
}

/// Runs a model on every engine, and compares its first output.
pub(crate) async fn assert_right(model: &Onnx, inputs: &[Value], shape: &[usize], expected: &[f64], what: &str) {
    let stored = Stored::new(model);
    // onnxruntime ignores NaN in windows.
    for engine in engines().into_iter().filter(|engine| engine.0 == "rten" || what != "MaxPool") {
        let server = stored.serve(engine).await;
        let reply = infer(&server, inputs).await;
        assert_eq!(reply.status, 200, "{what} on {engine:?}: {}", reply.text);
        assert_output(&reply.json()["outputs"][0], &json!(shape), expected, &format!("{what} on {engine:?}"));
    }
}

/// Runs a model with rten, which refuses the request and continues to run.
pub(crate) async fn assert_refused(model: &Onnx, inputs: &[Value], parts: &[&str]) {
    let stored = Stored::new(model);
    for engine in engines().into_iter().filter(|engine| engine.0 == "rten") {
        let server = stored.serve(engine).await;
        let reply = infer(&server, inputs).await;
        assert!(matches!(reply.status, 400 | 422), "{engine:?}: {} {}", reply.status, reply.text);
        for part in parts {
            assert!(reply.text.contains(part), "{engine:?}: `{part}` in {}", reply.text);
        }
    }
}

/// Serves a model with the output `y`. Sends a request whose answer is right, and one that is refused.
pub(crate) async fn assert_bounded_by(
    model: &Onnx,
    backends: &[&str],
    (small, expected): (Value, f64),
    large: Value,
    parts: &[&str],
) {
    let stored = Stored::new(model);
    for engine in engines().into_iter().filter(|engine| backends.contains(&engine.0)) {
        let server = stored.serve(engine).await;
        let reply = server.infer_json("p.infer", &large).await;
        assert_eq!(reply.status, 400, "{engine:?}: {}", reply.text);
        for part in parts {
            assert!(reply.text.contains(part), "{engine:?}: `{part}` in {}", reply.text);
        }
        let reply = server.infer_json("p.infer", &small).await;
        assert_eq!(reply.status, 200, "{engine:?}: {}", reply.text);
        assert_output(&reply.json()["outputs"][0], &json!([1]), &[expected], &format!("{engine:?}"));
    }
}
