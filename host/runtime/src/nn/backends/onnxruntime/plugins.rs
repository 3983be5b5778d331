//! Execution providers of further libraries ("plugin execution providers"): loaded once in a process, with their
//! devices.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::AsPointer;
use ort::device::Device as OrtDevice;
use ort::environment::Environment;
use ort::memory::DeviceType;

use super::c_api::metadata::metadata;
use super::library_file::{self, LibraryFileError};
use crate::nn::chip::{Chip, DeviceDescription};

/// Why a chip of a further library cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum PluginError {
    #[error(
        "library: {} cannot be loaded as a plugin of ONNX Runtime: {error}. It must be a plugin execution provider \
         (PyPI packages such as `onnxruntime-ep-openvino` carry one), and the libraries that it needs must be beside it",
        path.display()
    )]
    Library { path: PathBuf, error: ort::Error },
    #[error("library: {} cannot be loaded: {error}", path.display())]
    File { path: PathBuf, error: LibraryFileError },
    #[error(
        "provider: {} has no device of the provider `{provider}` on this machine; it has {found}. A provider \
         offers only hardware that it supports: that of `onnxruntime-ep-openvino`, for example, only Intel processors",
        path.display()
    )]
    NoProvider { path: PathBuf, provider: String, found: String },
    #[error("device: there is no device `{device}`; {} has {found}", path.display())]
    NoDevice { path: PathBuf, device: String, found: String },
    #[error("device: must be set, because {} has several devices: {found}", path.display())]
    Ambiguous { path: PathBuf, found: String },
}

/// A device of a library, identified by its address in memory. The library keeps the device at this address as long as the
/// process lives, so the device can be found again in the list of all devices.
type Address = usize;

/// A library that is loaded.
#[derive(Clone)]
struct Loaded {
    /// The name under which it is registered. Some libraries give it to their provider.
    name: String,
    devices: Vec<Address>,
}

/// The libraries that are loaded.
static LOADED: Mutex<BTreeMap<PathBuf, Loaded>> = Mutex::new(BTreeMap::new());

/// Loads a library if it is not loaded yet. It is registered under the name `provider`, because some libraries give their
/// provider the name under which they are registered; if that is another library's name, under its path.
fn loaded(environment: &Environment, path: &Path, provider: &str) -> Result<Loaded, PluginError> {
    // The library would look for a path that is not absolute in its own folder.
    let path = library_file::check(path).map_err(|error| PluginError::File { path: path.to_owned(), error })?;
    let mut libraries = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = libraries.get(&path) {
        return Ok(known.clone());
    }
    let is_taken = libraries.values().any(|known| known.name == provider)
        || environment.devices().any(|device| device.ep().is_ok_and(|ep| ep == provider));
    let name = if is_taken { path.display().to_string() } else { provider.to_owned() };
    let before: Vec<Address> = environment.devices().map(|device| address(&device)).collect();
    environment
        .register_ep_library(name.as_str(), &path)
        .map_err(|error| PluginError::Library { path: path.clone(), error })?;
    let now = environment.devices().map(|device| address(&device));
    let new = Loaded { name, devices: now.filter(|address| !before.contains(address)).collect() };
    libraries.insert(path, new.clone());
    Ok(new)
}

/// Returns true for a device of a further library.
pub(super) fn is_of_plugin(device: &OrtDevice<'_>) -> bool {
    let loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    loaded.values().any(|library| library.devices.contains(&address(device)))
}

fn address(device: &OrtDevice<'_>) -> Address {
    device.ptr() as Address
}

/// The devices of the provider of a chip.
fn provider_devices<'e>(
    environment: &'e Environment,
    chip: &Chip,
    path: &Path,
) -> Result<Vec<OrtDevice<'e>>, PluginError> {
    let library = loaded(environment, path, &chip.provider)?;
    let devices = environment.devices().filter(|device| library.devices.contains(&address(device)));
    // A provider with the name of its registration has no name of its own, so whatever a chip calls it is right: the first
    // chip that named the library, which may have been refused, does not decide.
    let is_named = |ep: &str| is_named(ep, &chip.provider) || ep == library.name;
    let (of_provider, others): (Vec<_>, Vec<_>) = devices.partition(|device| is_named(&provider(device)));
    if of_provider.is_empty() {
        let (provider, found) = (chip.provider.clone(), listed(&others));
        return Err(PluginError::NoProvider { path: path.to_owned(), provider, found });
    }
    Ok(of_provider)
}

/// The device of a chip: `device` is a kind (`CPU`, `GPU`, `NPU`), with a number if there are several (`GPU:1`).
pub(super) fn select<'e>(environment: &'e Environment, chip: &Chip, path: &Path) -> Result<OrtDevice<'e>, PluginError> {
    let devices = provider_devices(environment, chip, path)?;
    let found = listed(&devices);
    let path = path.to_owned();
    let Some(wanted) = &chip.device else {
        let mut devices = devices;
        return match devices.len() {
            1 => Ok(devices.remove(0)),
            _ => Err(PluginError::Ambiguous { path, found }),
        };
    };
    let (kind_wanted, number) = match wanted.split_once(':') {
        None => (wanted.as_str(), Some(0)),
        Some((kind, number)) => (kind, number.parse().ok()),
    };
    let of_kind = devices.into_iter().filter(|device| kind(device).eq_ignore_ascii_case(kind_wanted));
    let device = number.and_then(|number: usize| of_kind.into_iter().nth(number));
    device.ok_or_else(|| PluginError::NoDevice { path, device: wanted.clone(), found })
}

/// The library's name of the provider of a device.
pub(super) fn provider(device: &OrtDevice<'_>) -> String {
    device.ep().unwrap_or_default().to_owned()
}

/// Returns true if `OpenVINOExecutionProvider` is called `openvino`, or by its whole name.
fn is_named(ep: &str, name: &str) -> bool {
    let short = ep.strip_suffix("ExecutionProvider").unwrap_or(ep);
    ep == name || short.eq_ignore_ascii_case(name)
}

fn kind(device: &OrtDevice<'_>) -> &'static str {
    match device.hardware_device().ty() {
        DeviceType::CPU => "CPU",
        DeviceType::GPU => "GPU",
        DeviceType::NPU => "NPU",
        DeviceType::FPGA => "FPGA",
    }
}

/// The devices as `CPU`, `GPU:0`, `GPU:1`, each with its provider.
fn listed(devices: &[OrtDevice<'_>]) -> String {
    let names = devices.iter().map(|device| format!("{} ({})", kind(device), provider(device))).collect::<Vec<_>>();
    if names.is_empty() { "no devices".to_owned() } else { names.join(", ") }
}

/// Describes a device. `library` has its provider.
pub(super) fn described(device: &OrtDevice<'_>, library: Option<&Path>) -> DeviceDescription {
    DeviceDescription {
        target: None,
        provider: provider(device),
        kind: kind(device).to_owned(),
        vendor: device.hardware_device().vendor().unwrap_or_default().to_owned(),
        library: library.map(Path::to_owned),
        details: metadata(device),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_has_a_short_and_a_whole_name() {
        for name in ["openvino", "OpenVINO", "OpenVINOExecutionProvider"] {
            assert!(is_named("OpenVINOExecutionProvider", name), "{name}");
        }
        assert!(is_named("MyNpu", "mynpu"));
        assert!(!is_named("OpenVINOExecutionProvider", "openvinoexecution"));
    }
}
