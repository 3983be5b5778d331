//! Options of the execution provider (`[models.NAME.options]`). The library knows which options it has; this file knows
//! which of them the host cannot honour.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::identity::hex;
use crate::nn::device::Device;
use crate::nn::model::ModelSource;

const ADDRESS: &str = "it is an address in the process";
const GRAPH: &str =
    "a graph replays the addresses of the buffers of its first run, and the host uses other buffers in each run";

/// Options that are addresses in the process, or that the host sets itself.
const RESERVED: [(&str, &str); 12] = [
    ("device_id", "the device is set by `target` (\"cuda:1\"), or by `device` of the chip"),
    // OpenVINO.
    ("device_type", "the device is set by `device` of the chip"),
    ("user_compute_stream", ADDRESS),
    ("gpu_external_alloc", ADDRESS),
    ("gpu_external_free", ADDRESS),
    ("gpu_external_empty_cache", ADDRESS),
    ("trt_onnx_bytestream", ADDRESS),
    ("trt_external_data_bytestream", ADDRESS),
    ("enable_cuda_graph", GRAPH),
    ("trt_cuda_graph_enable", GRAPH),
    ("enable_hip_graph", GRAPH),
    (
        ENGINE_PREFIX,
        "the host sets it to the digest of the model's files, so that another model does not get its engines",
    ),
];

/// TensorRT keeps compiled engines in a folder, with names that say nothing about the weights: a model that was trained again would
/// get the engine of the one before (`TRTGenerateId` in `onnxruntime/core/providers/tensorrt`). The prefix replaces these names.
const ENGINE_CACHE: &str = "trt_engine_cache_enable";
const ENGINE_PREFIX: &str = "trt_engine_cache_prefix";

/// Options that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OptionsError {
    #[error("options: the target `cpu` has no execution provider with options; remove them")]
    Cpu,
    #[error("options: `{name}` cannot be set: {reason}")]
    Reserved { name: &'static str, reason: &'static str },
    #[error("options: {0:?} contains the character NUL")]
    Nul(String),
}

/// The options of the chip and those of the model, which take precedence; checked for what the library cannot check.
pub(super) fn of(source: &ModelSource) -> Result<BTreeMap<String, String>, OptionsError> {
    if source.device == Device::Cpu && !source.options.is_empty() {
        return Err(OptionsError::Cpu);
    }
    let mut options = match &source.device {
        Device::Chip(chip) => chip.options.clone(),
        Device::Cpu | Device::Cuda(_) => BTreeMap::new(),
    };
    options.extend(source.options.clone());
    for (name, value) in &options {
        if let Some(text) = [name, value].into_iter().find(|text| text.contains('\0')) {
            return Err(OptionsError::Nul(text.clone()));
        }
        // A graph that is switched off is the default.
        if let Some((name, reason)) = RESERVED.iter().find(|(reserved, _)| reserved == name)
            && !(*reason == GRAPH && is_off(value))
        {
            return Err(OptionsError::Reserved { name, reason });
        }
    }
    if options.get(ENGINE_CACHE).is_some_and(|value| !is_off(value)) {
        options.insert(ENGINE_PREFIX.to_owned(), files_digest(source));
    }
    Ok(options)
}

fn is_off(value: &str) -> bool {
    matches!(value, "0" | "false" | "False")
}

/// The SHA-256 of the model's file and of its weights in other files, hexadecimal.
fn files_digest(source: &ModelSource) -> String {
    let mut digest = Sha256::new();
    digest.update(Sha256::digest(source.bytes.as_slice()));
    for (path, bytes) in &source.external {
        digest.update(Sha256::digest(path));
        digest.update(Sha256::digest(bytes.as_slice()));
    }
    hex(&digest.finalize())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::nn::chip::Chip;

    fn checked(device: Device, options: &[(&str, &str)]) -> Result<BTreeMap<String, String>, String> {
        let options: BTreeMap<_, _> =
            options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let (name, path) = ("m".to_owned(), "m.onnx".into());
        let source = ModelSource { name, path, bytes: Arc::default(), external: Vec::new(), device, options };
        of(&source).map_err(|error| error.to_string())
    }

    #[test]
    fn options_that_the_host_cannot_honour_are_refused_by_name() {
        assert_eq!(checked(Device::Cpu, &[]), Ok(BTreeMap::new()));
        assert!(checked(Device::Cpu, &[("x", "1")]).expect_err("refused").contains("`cpu`"));
        let cuda = |name: &str, value: &str| checked(Device::Cuda(0), &[(name, value)]);
        assert!(cuda("cudnn_conv_algo_search", "HEURISTIC").is_ok());
        assert!(cuda("enable_cuda_graph", "0").is_ok());
        for (name, value) in [("enable_cuda_graph", "1"), ("device_id", "0"), ("user_compute_stream", "140")] {
            assert!(cuda(name, value).expect_err(name).contains(&format!("`{name}` cannot be set")));
        }
        assert!(cuda("gpu_mem_limit", "1\0").expect_err("refused").contains("NUL"));
        let of_chip =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let chip = |options| Chip { name: "b".into(), provider: "cuda".into(), library: None, device: None, options };
        let on = |options: &[(&str, &str)]| Device::Chip(Arc::new(chip(of_chip(options))));
        let merged = checked(on(&[("a", "1"), ("b", "2")]), &[("b", "3")]);
        assert_eq!(merged, Ok(of_chip(&[("a", "1"), ("b", "3")])), "the model's options take precedence");
        for name in ["device_id", "device_type"] {
            for (of_chip, of_model) in [(&[(name, "1")][..], &[][..]), (&[], &[(name, "1")])] {
                assert!(checked(on(of_chip), of_model).expect_err("refused").contains("`device` of the chip"));
            }
        }
        assert!(cuda("trt_cuda_graph_enable", "1").is_err() && cuda("trt_cuda_graph_enable", "false").is_ok());
    }

    /// The engine of a model that was trained again must not be that of the model before.
    #[test]
    fn engines_of_tensorrt_are_named_by_the_weights() {
        let prefix = |bytes: &[u8], weights: &[u8], value: &str| {
            let (name, path) = ("m".to_owned(), "m.onnx".into());
            let options = BTreeMap::from([(ENGINE_CACHE.to_owned(), value.to_owned())]);
            let external = vec![("w".to_owned(), Arc::new(weights.to_vec()))];
            let bytes = Arc::new(bytes.to_vec());
            let source = ModelSource { name, path, bytes, external, device: Device::Cuda(0), options };
            of(&source).expect("valid").remove(ENGINE_PREFIX)
        };
        let first = prefix(b"model", b"weights", "1").expect("set by the host");
        assert_eq!(first.len(), 64);
        assert_eq!(prefix(b"model", b"weights", "true"), Some(first.clone()));
        for other in [prefix(b"other", b"weights", "1"), prefix(b"model", b"others", "1")] {
            assert!(other.is_some_and(|other| other != first));
        }
        assert_eq!(prefix(b"model", b"weights", "0"), None);
        assert!(checked(Device::Cuda(0), &[(ENGINE_PREFIX, "x")]).expect_err("refused").contains("digest"));
    }
}
