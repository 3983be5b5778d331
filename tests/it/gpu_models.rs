//! The models of the benchmark on a GPU (`tests/benches/gpu`): a script of the standard library writes them, and every
//! backend loads and runs them.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use plimsoll_runtime::nn::{BackendName, Device, ModelSource, describe};
use plimsoll_runtime::tensor::{Tensor, TensorType};
use plimsoll_tests::TempDir;
use serde_json::json;

use crate::models::onnxruntime;

#[test]
fn the_models_of_the_benchmark_on_a_gpu_are_valid_and_run() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/gpu/models.py");
    let folder = TempDir::new().expect("a folder");
    let output = Command::new("python3").arg(script).arg(folder.path()).output();
    let Ok(output) = output else { return plimsoll_tests::skip("python3 is not installed") };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for (name, megabytes) in [("mobilenet", 13), ("resnet50", 102)] {
        let path = folder.path().join(format!("{name}.onnx"));
        let bytes = std::fs::read(&path).expect("a model");
        assert_eq!(bytes.len() / 1_000_000, megabytes, "{name}");
        let described = describe(&bytes).expect("a model");
        assert_eq!((described.inputs.len(), described.outputs.len()), (1, 1), "{name}");
        let Some(library) = onnxruntime() else { continue };
        let backend: BackendName = "onnxruntime".parse().expect("known");
        let backend = backend.open(&json!({ "library": library, "sessions": 1 }), Path::new("")).expect("opened");
        let source = ModelSource {
            name: name.into(),
            path,
            bytes: Arc::new(bytes),
            external: Vec::new(),
            device: Device::Cpu,
            options: Default::default(),
        };
        let model = backend.load(&source).unwrap_or_else(|error| panic!("{error}"));
        let numbers = (0..2 * 3 * 224 * 224).map(|place| ((place * 37) % 101) as f32 / 101.0);
        let data = numbers.flat_map(f32::to_le_bytes).collect();
        let outputs = model.run(&[Tensor::new(vec![2, 3, 224, 224], TensorType::Fp32, data)]).expect("a run");
        let (output, logits) = &outputs[0];
        assert_eq!((output.as_str(), &logits.dimensions), ("logits", &vec![2, 1_000]), "{name}");
        // Activations neither vanish nor explode, so that a run takes as long as with trained weights.
        let logits: Vec<f32> = logits.data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        let largest = logits.iter().fold(0.0_f32, |largest, number| largest.max(number.abs()));
        assert!(logits.iter().all(|number| number.is_finite()) && (1e-3..1e4).contains(&largest), "{name}: {largest}");
    }
}
