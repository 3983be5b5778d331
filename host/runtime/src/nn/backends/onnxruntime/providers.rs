//! The execution providers that a build of ONNX Runtime can carry, by the names of the configuration.

use std::collections::BTreeMap;

use ort::ep::{
    ArbitrarilyConfigurableExecutionProvider, CANN, CUDA, CoreML, ExecutionProvider, ExecutionProviderDispatch,
    MIGraphX, NVRTX, OneDNN, OpenVINO, QNN, ROCm, TensorRT, Vitis, XNNPACK,
};

type Options = BTreeMap<String, String>;

/// A provider that the library may carry.
pub(super) struct Provider {
    /// The name in the configuration.
    pub(super) name: &'static str,
    /// The library's own name.
    pub(super) ep: &'static str,
    /// The option that selects the device; `None` if the provider has only one.
    device_option: Option<&'static str>,
    /// The library's names of memory of the host that its devices read directly.
    pub(super) host_memory: &'static [&'static str],
    build: fn(&Options) -> Result<ExecutionProviderDispatch, ProviderError>,
    is_carried: fn() -> ort::Result<bool>,
}

/// Why a provider cannot be configured.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProviderError {
    #[error(
        "there is no provider `{name}`; those that a library of ONNX Runtime can carry are {known}; another one needs \
             its own `library`"
    )]
    Unknown { name: String, known: String },
    #[error(
        "the library of ONNX Runtime does not carry the provider `{name}`; it carries {carried}. Set `library` of \
         `[backends.onnxruntime]` to a build with it, or `library` of the chip to a plugin with it"
    )]
    NotCarried { name: &'static str, carried: String },
    #[error("device: the provider `{0}` has no devices to choose from; remove it")]
    NoDevices(&'static str),
    #[error("failed to parse provider option: \"{name}\": the provider `migraphx` has {known}")]
    MiGraphX { name: String, known: &'static str },
    #[error("the library does not answer which providers it carries: {0}")]
    Ort(#[from] ort::Error),
}

macro_rules! providers {
    ($($name:literal $ep:ident $device:expr, $host_memory:expr, $build:expr;)*) => {
        /// The providers, in the order of their names.
        const PROVIDERS: &[Provider] = &[$(Provider {
            name: $name,
            ep: $ep::NAME,
            device_option: $device,
            host_memory: $host_memory,
            build: $build,
            is_carried: $ep::is_available,
        }),*];
    };
}

const DEVICE_ID: Option<&str> = Some("device_id");
/// Memory of the host that the devices of NVIDIA, AMD and Huawei read directly (`core/framework/allocator.h` of ONNX
/// Runtime). The providers of the others have none.
const NVIDIA: &[&str] = &["CudaPinned"];
const AMD: &[&str] = &["HipPinned"];
const HUAWEI: &[&str] = &["CannPinned"];

providers! {
    "cann" CANN DEVICE_ID, HUAWEI, configured::<CANN>;
    "coreml" CoreML None, &[], configured::<CoreML>;
    "cuda" CUDA DEVICE_ID, NVIDIA, |options| configured::<CUDA>(&with_defaults(options, &CUDA_DEFAULTS));
    "migraphx" MIGraphX DEVICE_ID, AMD, migraphx;
    "nvtensorrtrtx" NVRTX DEVICE_ID, NVIDIA, configured::<NVRTX>;
    "onednn" OneDNN None, &[], configured::<OneDNN>;
    "openvino" OpenVINO Some("device_type"), &[], configured::<OpenVINO>;
    "qnn" QNN None, &[], configured::<QNN>;
    "rocm" ROCm DEVICE_ID, AMD, configured::<ROCm>;
    "tensorrt" TensorRT DEVICE_ID, NVIDIA, configured::<TensorRT>;
    "vitisai" Vitis None, &[], configured::<Vitis>;
    "xnnpack" XNNPACK None, &[], configured::<XNNPACK>;
}

/// Options of CUDA for a server, where the library's own defaults are for training and benchmarks:
/// - `EXHAUSTIVE` tries all algorithms of cuDNN for every new shape of every convolution, which takes seconds in the middle of
///   requests; `HEURISTIC` asks cuDNN for one.
/// - `kNextPowerOfTwo` takes up to twice the memory that a model needs, and other models on the GPU cannot use it.
const CUDA_DEFAULTS: [(&str, &str); 2] =
    [("cudnn_conv_algo_search", "HEURISTIC"), ("arena_extend_strategy", "kSameAsRequested")];

/// The options, and defaults for those that are not set.
fn with_defaults(options: &Options, defaults: &[(&str, &str)]) -> Options {
    let mut all: Options = defaults.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    all.extend(options.clone());
    all
}

fn configured<P>(options: &Options) -> Result<ExecutionProviderDispatch, ProviderError>
where
    P: ArbitrarilyConfigurableExecutionProvider + Default + Into<ExecutionProviderDispatch>,
{
    Ok(with_options::<P>(options).into())
}

fn with_options<P: ArbitrarilyConfigurableExecutionProvider + Default>(options: &Options) -> P {
    let set = |provider: P, (name, value): (&String, &String)| provider.with_arbitrary_config(name, value);
    options.iter().fold(P::default(), set)
}

/// The crate configures this provider by a structure, not by text.
fn migraphx(options: &Options) -> Result<ExecutionProviderDispatch, ProviderError> {
    const KNOWN: &str = "`device_id`, `migraphx_exhaustive_tune`, `migraphx_fp16_enable` and `migraphx_fp8_enable`";
    let mut provider = MIGraphX::default();
    for (name, value) in options {
        let unknown = || ProviderError::MiGraphX { name: name.clone(), known: KNOWN };
        let is_on = || match value.as_str() {
            "1" | "true" | "True" => Ok(true),
            "0" | "false" | "False" => Ok(false),
            _ => Err(unknown()),
        };
        provider = match name.as_str() {
            "device_id" => provider.with_device_id(value.parse().map_err(|_| unknown())?),
            "migraphx_exhaustive_tune" => provider.with_exhaustive_tune(is_on()?),
            "migraphx_fp16_enable" => provider.with_fp16(is_on()?),
            "migraphx_fp8_enable" => provider.with_fp8(is_on()?),
            _ => return Err(unknown()),
        };
    }
    Ok(provider.into())
}

impl Provider {
    /// The provider of a name.
    pub(super) fn of(name: &str) -> Result<&'static Self, ProviderError> {
        let known = || PROVIDERS.iter().map(|provider| format!("`{}`", provider.name)).collect::<Vec<_>>().join(", ");
        let found = PROVIDERS.iter().find(|provider| provider.name == name);
        found.ok_or_else(|| ProviderError::Unknown { name: name.to_owned(), known: known() })
    }

    /// The providers that the loaded library carries.
    pub(super) fn carried() -> ort::Result<Vec<&'static Self>> {
        let mut carried = Vec::new();
        for provider in PROVIDERS {
            if (provider.is_carried)()? {
                carried.push(provider);
            }
        }
        Ok(carried)
    }

    /// Checks that the loaded library carries the provider.
    pub(super) fn check_carried(&self) -> Result<(), ProviderError> {
        if (self.is_carried)()? {
            return Ok(());
        }
        let carried: Vec<_> = Self::carried()?.iter().map(|provider| format!("`{}`", provider.name)).collect();
        let carried = if carried.is_empty() { "only the CPU's".to_owned() } else { carried.join(", ") };
        Err(ProviderError::NotCarried { name: self.name, carried })
    }

    /// The provider with its options, for one of its devices.
    pub(super) fn build(
        &self,
        device: Option<&str>,
        options: &Options,
    ) -> Result<ExecutionProviderDispatch, ProviderError> {
        let mut options = options.clone();
        if let Some(device) = device {
            let name = self.device_option.ok_or(ProviderError::NoDevices(self.name))?;
            options.insert(name.to_owned(), device.to_owned());
        }
        // Without `error_on_failure` the model would silently run on the CPU.
        Ok((self.build)(&options)?.error_on_failure())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_are_found_by_name_and_devices_checked() {
        for provider in PROVIDERS {
            assert_eq!(Provider::of(provider.name).expect("known").ep, provider.ep);
            assert!(provider.ep.to_lowercase().ends_with("executionprovider"), "{}", provider.ep);
            let device = if provider.device_option == DEVICE_ID { "1" } else { "GPU" };
            let built = provider.build(Some(device), &Options::new());
            assert_eq!(built.is_ok(), provider.device_option.is_some(), "{}", provider.name);
        }
        let unknown = Provider::of("tpu").map(|_| ()).expect_err("unknown").to_string();
        assert!(unknown.contains("no provider `tpu`") && unknown.contains("`qnn`"), "{unknown}");
    }

    #[test]
    fn cuda_has_the_options_of_a_server_unless_others_are_set() {
        let passed = |options: &[(&str, &str)]| {
            let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            // What the crate passes to the library.
            format!("{:?}", with_options::<CUDA>(&with_defaults(&options, &CUDA_DEFAULTS)).options_mut())
        };
        let default = passed(&[("device_id", "1"), ("gpu_mem_limit", "7")]);
        for (name, value) in CUDA_DEFAULTS.iter().chain(&[("device_id", "1"), ("gpu_mem_limit", "7")]) {
            assert!(default.contains(name) && default.contains(value), "{default}");
        }
        let own = passed(&[("cudnn_conv_algo_search", "EXHAUSTIVE")]);
        assert!(own.contains("EXHAUSTIVE") && !own.contains("HEURISTIC") && own.contains("kSameAsRequested"), "{own}");
        let cuda = Provider::of("cuda").expect("known");
        assert!(cuda.build(Some("0"), &Options::new()).is_ok());
    }

    #[test]
    fn options_of_migraphx_are_checked_by_name() {
        let migraphx = Provider::of("migraphx").expect("known");
        let options = |name: &str, value: &str| Options::from([(name.to_owned(), value.to_owned())]);
        assert!(migraphx.build(Some("1"), &options("migraphx_fp16_enable", "true")).is_ok());
        for (name, value) in [("migraphx_fp16_enable", "maybe"), ("fp16", "1")] {
            let error = migraphx.build(None, &options(name, value)).map(|_| ()).expect_err("refused").to_string();
            assert!(error.contains(&format!("provider option: \"{name}\"")), "{error}");
        }
    }
}
