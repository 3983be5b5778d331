//! A chip: a device of an execution provider (a part of a library), under its name in the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// `[chips.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chip {
    /// The name in the configuration.
    pub name: String,
    /// The execution provider, for example `openvino` or `tensorrt`.
    pub provider: String,
    /// The library that has the provider; `None` if the backend's own library has it.
    pub library: Option<PathBuf>,
    /// Which device of the provider: `CPU`, `GPU`, `NPU`, `GPU:1`, or a number; `None` if it has only one.
    pub device: Option<String>,
    /// Options of the provider.
    pub options: BTreeMap<String, String>,
}

/// The execution provider that computes what another one does not.
pub const CPU_PROVIDER: &str = "CPUExecutionProvider";

/// The nodes of a model that one execution provider computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The library's name of the provider.
    pub provider: String,
    /// How many nodes of the model.
    pub nodes: usize,
    /// Their operators.
    pub operators: Vec<String>,
}

/// A device that a backend has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceDescription {
    /// The `target` that selects it; `None` if it needs a table of `[chips]`.
    pub target: Option<String>,
    /// The execution provider.
    pub provider: String,
    /// The kind of hardware: `CPU`, `GPU` or `NPU`.
    pub kind: String,
    /// The manufacturer.
    pub vendor: String,
    /// The library that has the provider; `None` for the backend's own.
    pub library: Option<PathBuf>,
    /// What the library knows besides, by its own names, for example the memory of the device.
    pub details: BTreeMap<String, String>,
}

/// Says which part of a model does not run on its device.
pub(super) fn log_placement(model: &str, target: &str, placement: &[Placement]) {
    let count = |placement: &Placement| format!("{} on {}", placement.nodes, placement.provider);
    let all = placement.iter().map(count).collect::<Vec<_>>().join(", ");
    match placement.iter().find(|placement| placement.provider == CPU_PROVIDER) {
        _ if placement.is_empty() => {}
        None => tracing::info!("model {model}, target {target}: all nodes run on the chip: {all}"),
        Some(on_cpu) => tracing::warn!(
            "model {model}, target {target}: the provider does not compute all nodes: {all}. Those on the CPU: {}. \
             Their values are copied between the chip and the CPU in every run",
            on_cpu.operators.join(", ")
        ),
    }
}

/// Says how inputs and outputs reach a device with memory of its own.
pub(super) fn log_binding(model: &str, target: &str, bound_to: Option<&str>) {
    match bound_to {
        Some(memory) => tracing::info!(
            "model {model}, target {target}: inputs and outputs are bound to memory of the library ({memory}), from which the \
             device copies directly"
        ),
        None => tracing::info!(
            "model {model}, target {target}: the provider has no memory of the host that its device reads directly, or \
             `io_binding = false`; inputs and outputs are in ordinary memory"
        ),
    }
}
