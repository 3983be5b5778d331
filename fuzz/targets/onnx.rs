//! Any bytes as an ONNX file: no panic in what prepares it for either engine, or reads how its rows depend on each other;
//! and the names of external files stay inside the model's folder.
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
