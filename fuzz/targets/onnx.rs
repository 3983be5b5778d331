//! Any bytes as an ONNX file: preparing it for an engine does not panic, nor does the proof that its rows are
//! independent, and the names of external files stay inside the model's folder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plimsoll_onnx::{external_files, prepare, prepare_onnxruntime, prove_rows};

fuzz_target!(|bytes: &[u8]| {
    for file in external_files(bytes).unwrap_or_default() {
        assert!(!file.starts_with('/') && !file.split('/').any(|part| part == ".."), "{file}");
    }
    let _ = prepare_onnxruntime(bytes);
    let _ = prove_rows(bytes);
    if let Ok(prepared) = prepare(bytes.to_vec(), &[]) {
        let _ = prepare(prepared.bytes, &[]);
    }
});
