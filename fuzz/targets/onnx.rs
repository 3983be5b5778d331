//! Any bytes as an ONNX file: no panic, and a model that was converted once is accepted again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plimsoll_onnx::{prepare, values_without_shape};

fuzz_target!(|bytes: &[u8]| {
    let _ = values_without_shape(bytes);
    if let Ok(prepared) = prepare(bytes.to_vec(), &[]) {
        let _ = prepare(prepared.bytes, &[]);
    }
});
