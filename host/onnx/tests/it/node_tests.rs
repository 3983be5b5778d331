//! ONNX's node tests, which the PyPI package `onnx` contains (`onnx/backend/test/data/node`). The variable
//! `ONNX_NODE_TESTS` names their folder.

use std::path::{Path, PathBuf};

use rten_onnx::onnx::TensorProto;
use rten_onnx::protobuf::{DecodeMessage, ValueReader};

/// The folders of the tests, or `None` with a reason. Without `CI`, tests are skipped where they are absent.
pub(crate) fn folders() -> Option<Vec<PathBuf>> {
    let folder = std::env::var_os("ONNX_NODE_TESTS").map(PathBuf::from).filter(|path| path.is_dir());
    let Some(folder) = folder else {
        assert!(std::env::var_os("CI").is_none(), "ONNX_NODE_TESTS does not name a folder, and CI must not skip");
        eprintln!("SKIPPED: ONNX_NODE_TESTS does not name a folder");
        return None;
    };
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut tests: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    tests.sort();
    Some(tests)
}

/// The model of a test; `None` for a folder without one.
pub(crate) fn model(test: &Path) -> Option<Vec<u8>> {
    std::fs::read(test.join("model.onnx")).ok()
}

/// The tensors `input_0.pb`, `input_1.pb` and so on of a test, or its outputs.
pub(crate) fn tensors(test: &Path, kind: &str) -> Vec<TensorProto> {
    let read = |index: usize| {
        let bytes = std::fs::read(test.join("test_data_set_0").join(format!("{kind}_{index}.pb"))).ok()?;
        TensorProto::decode(ValueReader::from_buf(bytes)).ok()
    };
    (0..).map_while(read).collect()
}
