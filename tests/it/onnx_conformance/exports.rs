//! Models as exporters write them: PyTorch, scikit-learn, weights of 4 and 8 bits (`tests/conformance/onnx_exports.py`).
//!
//! The variable `ONNX_EXPORTS` names their folder. Without it nothing runs, in CI neither, because the exporters are too
//! large for that.

use std::path::PathBuf;

use plimsoll_tests::{Server, guests_config};

use super::in_wasm::run_in_wasm;
use super::{GENERATED, check_generated, compare_generated, folders};

fn exports() -> Option<Vec<PathBuf>> {
    if std::env::var_os("ONNX_EXPORTS").is_none() {
        println!("not run: ONNX_EXPORTS does not name a folder of exported models");
        return None;
    }
    folders("ONNX_EXPORTS")
}

#[tokio::test(flavor = "multi_thread")]
async fn exported_models_are_right_or_rejected_with_rten() {
    let Some(tests) = exports() else { return };
    check_generated("rten", serde_json::Value::Null, &tests).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exported_models_are_right_or_rejected_with_onnxruntime() {
    let (Some(library), Some(tests)) = (crate::models::onnxruntime(), exports()) else { return };
    check_generated("onnxruntime", serde_json::json!({ "library": library, "sessions": 1 }), &tests).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exported_models_are_right_or_rejected_in_wasm() {
    let Some(tests) = exports() else { return };
    let server = Server::start(&guests_config("model-runner", "")).await;
    let mut results = Vec::new();
    for test in &tests {
        results.push(run_in_wasm(&server, test, GENERATED).await);
    }
    compare_generated("infer-wasm", &tests, results);
}
