//! Options of the execution provider (`[models.NAME.options]`). The library knows which options it has; this file knows
//! which of them the host cannot honour.

use std::collections::BTreeMap;

use crate::nn::device::Device;
use crate::nn::model::ModelSource;

/// Options that are addresses in the process, or that the host sets itself.
const RESERVED: [(&str, &str); 6] = [
    ("device_id", "the device is set by `target` (\"cuda:1\"), or by `device` of the chip"),
    ("user_compute_stream", "it is an address in the process"),
    ("gpu_external_alloc", "it is an address in the process"),
    ("gpu_external_free", "it is an address in the process"),
    ("gpu_external_empty_cache", "it is an address in the process"),
    (
        "enable_cuda_graph",
        "a graph replays the addresses of the buffers of its first run, and the host uses other buffers in each run",
    ),
];

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
        let is_off = matches!(value.as_str(), "0" | "false" | "False");
        if let Some((name, reason)) = RESERVED.iter().find(|(reserved, _)| reserved == name)
            && !(*name == "enable_cuda_graph" && is_off)
        {
            return Err(OptionsError::Reserved { name, reason });
        }
    }
    Ok(options)
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
        assert!(checked(on(&[("device_id", "1")]), &[]).expect_err("refused").contains("`device` of the chip"));
    }
}
