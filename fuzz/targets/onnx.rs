//! Any bytes as an ONNX file: preparing it for an engine does not panic, nor does the proof that its rows are
//! independent, nor the estimate of a run. The names of external files stay inside the model's folder, and what was
//! written for an engine is a model again.
#![no_main]

mod models;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use plimsoll_onnx::fuzzing::parse;
use plimsoll_onnx::{
    GivenInput, RunSizes, external_files, prepare, prepare_onnxruntime, prove_rows, time_depends_on_values,
};

fuzz_target!(|bytes: &[u8]| {
    for file in external_files(bytes).unwrap_or_default() {
        assert!(!file.starts_with('/') && !file.split('/').any(|part| part == ".."), "{file}");
    }
    if let Some(written) = prepare_onnxruntime(bytes).ok().and_then(|prepared| prepared.bytes) {
        assert!(parse(&written).is_some(), "the model for onnxruntime cannot be read");
    }
    let _ = prove_rows(bytes);
    let _ = time_depends_on_values(bytes);
    estimate(bytes);
    if let Ok(prepared) = prepare(bytes.to_vec(), &[]) {
        assert!(prepared.bytes == bytes || parse(&prepared.bytes).is_some(), "the model for rten cannot be read");
        let _ = prepare(prepared.bytes, &[]);
    }
});

/// Estimates runs with the shapes that the model declares, and several sizes for each dynamic dimension, without and with the
/// numbers of the inputs.
fn estimate(bytes: &[u8]) {
    let Some(sizes) = RunSizes::of_model(bytes) else { return };
    let Some(graph) = parse(bytes).and_then(|model| model.graph) else { return };
    for dynamic in [0, 1, 3, u32::MAX] {
        let shapes: Vec<(&str, Vec<u32>)> = graph
            .input
            .iter()
            .filter_map(|input| {
                let shape = input.r#type.as_ref()?.tensor_type.as_ref()?.shape.as_ref()?;
                let size = |size: Option<i64>| size.and_then(|size| u32::try_from(size).ok()).unwrap_or(dynamic);
                Some((input.name.as_deref()?, shape.dim.iter().map(|dimension| size(dimension.dim_value)).collect()))
            })
            .collect();
        let numbers = [i64::from(dynamic), -1, 2, i64::MAX, i64::MIN];
        for count in [0, 1, numbers.len()] {
            let elements = Some(&numbers[..count]).filter(|elements| !elements.is_empty());
            let inputs: Vec<GivenInput> =
                shapes.iter().map(|(name, shape)| GivenInput { name, shape, elements }).collect();
            let _ = sizes.peaks(&inputs);
            let _ = sizes.outputs(&inputs);
        }
    }
}

// One change in four is of bytes.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let changed = if seed % 4 == 0 { None } else { models::mutate(&data[..size], seed) };
    match changed.filter(|changed| changed.len() <= max_size) {
        Some(changed) => {
            data[..changed.len()].copy_from_slice(&changed);
            changed.len()
        }
        None => fuzzer_mutate(data, size, max_size),
    }
});
