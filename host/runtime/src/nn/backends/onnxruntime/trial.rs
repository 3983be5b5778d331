//! Whether a device can be used at all: a session of a tiny model on it. A library lists the providers that it was built
//! with, also on a machine without their devices, drivers or libraries.

use std::sync::Arc;

use ort::environment::Environment;

use super::options;
use super::session::SessionSource;
use crate::nn::device::Device;
use crate::nn::error::LoadError;
use crate::nn::model::ModelSource;

/// `y = Relu(x)` for one number, as an ONNX file.
const MODEL: &[u8] = b"\x08\x08\x42\x02\x10\x0d\x3a\x33\
    \x0a\x0c\x0a\x01x\x12\x01y\x22\x04Relu\x12\x01g\
    \x5a\x0f\x0a\x01x\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x01\
    \x62\x0f\x0a\x01y\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x01";

/// Makes a session on a device.
///
/// # Errors
/// Why there is none.
pub(super) fn open(environment: &Environment, device: &Device) -> Result<(), LoadError> {
    let source = ModelSource {
        name: String::new(),
        path: "a model with one node".into(),
        bytes: Arc::new(MODEL.to_vec()),
        external: Vec::new(),
        device: device.clone(),
        options: Default::default(),
    };
    let failed = |error: &dyn std::fmt::Display| LoadError(error.to_string());
    let options = options::of(&source).map_err(|error| failed(&error))?;
    let prepared = plimsoll_onnx::prepare_onnxruntime(&source.bytes).map_err(|error| failed(&error))?;
    let session = SessionSource { environment, threads: 1, source: &source, prepared: &prepared, is_optimised: true };
    session.session(&options).map(drop).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_one() {
        assert!(plimsoll_onnx::prepare_onnxruntime(MODEL).is_ok());
        let description = plimsoll_onnx::describe(MODEL).expect("a model");
        assert_eq!((description.inputs.len(), description.outputs.len()), (1, 1));
    }
}
