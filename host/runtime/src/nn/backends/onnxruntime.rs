//! The backend `onnxruntime`: fast, and with support for accelerators. The library is loaded at run time, when the first
//! model needs it; it is not linked.

mod bound_memory;
mod c_api;
mod failures;
mod library;
mod library_file;
mod loaded;
mod openvino;
mod options;
mod plugins;
mod providers;
mod session;
mod settings;
mod trial;
mod values;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use ort::environment::Environment;
use ort::value::{Outlet, ValueType};
use plimsoll_onnx::DeclaredShape;

use self::bound_memory::BoundMemory;
use self::c_api::assignment;
use self::c_api::shared_session::SharedSession;
use self::library::environment;
use self::loaded::Loaded;
use self::providers::Provider;
use self::session::{SessionError, SessionSource};
use self::settings::{RunRules, Settings};
use self::values::element_type;
use crate::nn::chip::{CPU_PROVIDER, Chip, DeviceDescription, Placement};
use crate::nn::device::Device;
use crate::nn::error::LoadError;
use crate::nn::model::{Backend, BackendEntry, Model, ModelProperties, ModelSource, Signature};

/// The backend in the list.
pub(in crate::nn) const ENTRY: BackendEntry = BackendEntry {
    name: "onnxruntime",
    check: |settings| Settings::parse(settings).map(drop),
    open: |settings, folder| {
        let settings = Settings::parse(settings).map_err(|error| LoadError(error.to_string()))?;
        let rules = settings.rules();
        let library = settings.library.map(|path| folder.join(path));
        Ok(Box::new(OnnxRuntime::new(library, rules)?))
    },
};

/// The backend `onnxruntime`.
struct OnnxRuntime {
    environment: Environment,
    rules: RunRules,
}

/// Returns true if the memory of this device is that of the CPU.
fn is_in_host_memory(device: &Device, kind: Option<&str>) -> bool {
    match device {
        Device::Cpu => true,
        Device::Cuda(_) => false,
        Device::Chip(chip) if chip.library.is_some() => kind == Some("CPU"),
        Device::Chip(chip) => match chip.provider.as_str() {
            "openvino" => chip.device.as_deref().is_none_or(|device| device.starts_with("CPU")),
            provider => matches!(provider, "onednn" | "xnnpack"),
        },
    }
}

impl OnnxRuntime {
    /// Loads the library from `library`, or else from the path in the variable `ORT_DYLIB_PATH`.
    ///
    /// # Errors
    /// If there is no library; the message names both ways to set its path.
    fn new(library: Option<PathBuf>, rules: RunRules) -> Result<Self, LoadError> {
        let path = library
            .or_else(|| std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from))
            .ok_or_else(|| LoadError(absent("no library is configured")))?;
        let failed = |error| LoadError(absent(&format!("{} cannot be loaded: {error}", path.display())));
        let environment = environment(&path).map_err(failed)?;
        Ok(Self { environment, rules })
    }
}

fn absent(why: &str) -> String {
    format!(
        "the backend `onnxruntime` cannot load ONNX Runtime: {why}. Set `library` in `[backends.onnxruntime]` or the \
         variable ORT_DYLIB_PATH to the path of libonnxruntime.so (the PyPI package `onnxruntime` carries it in \
         onnxruntime/capi), or use the backend `rten`"
    )
}

/// What to do about a model that the library refuses.
const MEND: &str = "export the model with operators, an operator set and element types that this ONNX Runtime has, or set \
                    `library` in `[backends.onnxruntime]` to a newer one";

impl OnnxRuntime {
    fn load_with(
        &self,
        source: &ModelSource,
        rules: RunRules,
        is_optimised: bool,
    ) -> Result<Box<dyn Model>, LoadError> {
        let failed = |error: &dyn std::fmt::Display| {
            LoadError(format!("onnxruntime cannot load {}: {error}", source.path.display()))
        };
        let options = options::of(source).map_err(|error| failed(&error))?;
        let prepared = plimsoll_onnx::prepare_onnxruntime(&source.bytes).map_err(|error| failed(&error))?;
        let RunRules { threads, runs, .. } = rules;
        let is_shared = rules.shares_session(&source.device);
        let threads = (threads, rules.threads_of_session(is_shared));
        let (environment, prepared) = (&self.environment, &prepared);
        let new = SessionSource { environment, threads: threads.1, source, prepared, is_optimised };
        let make = |_| {
            let session = new.session(&options)?;
            SharedSession::new(session, is_shared).map(Arc::new).map_err(SessionError::Name)
        };
        let sessions = (0..if is_shared { 1 } else { runs }).map(make).collect::<Result<Vec<_>, _>>();
        let sessions = sessions.map_err(|error| match error {
            SessionError::Ort(error) => failed(&format!("{error}; {MEND}")),
            error => failed(&error),
        })?;
        let session = sessions[0].session();
        let placement = match source.device {
            Device::Cpu => Vec::new(),
            Device::Cuda(_) | Device::Chip(_) => {
                let placement = assignment::assignment(session).map_err(|error| failed(&error))?;
                check_placement(&source.device, &placement).map_err(|error| failed(&error))?;
                placement
            }
        };
        let is_openvino = openvino::is_openvino(&source.device);
        let differences = if is_openvino { openvino::check(&prepared.openvino, &placement) } else { Ok(Vec::new()) };
        let differences = differences.map_err(|error| failed(&format!("target `{}`: {error}", source.device)))?;
        let signatures = |outlets: &[Outlet]| {
            let signatures =
                outlets.iter().map(|outlet| signature(outlet, &prepared.declared)).collect::<Result<Vec<_>, _>>();
            signatures.map_err(|error: LoadError| failed(&error))
        };
        let (inputs, outputs) = (signatures(session.inputs())?, signatures(session.outputs())?);
        let bound = BoundMemory::find(rules, &self.environment, &source.device, &sessions[0], &outputs)
            .map_err(|error| failed(&error))?;
        let is_cpu = source.device == Device::Cpu;
        let kind = self.kind_of(&source.device);
        let properties = ModelProperties {
            inputs,
            outputs,
            concurrent_runs: runs,
            runs_on_calling_thread: is_cpu && threads.0 == 1,
            overlaps_runs: is_cpu,
            pays_for_new_shapes: !is_cpu,
            time_depends_on_values: prepared.time_depends_on_values,
            placement,
            is_in_host_memory: is_in_host_memory(&source.device, kind.as_deref()),
            copies: sessions.len(),
            bound_to: bound.as_ref().map(BoundMemory::name),
            differences,
        };
        let idle = Mutex::new((0..runs).map(|run| run % sessions.len()).collect());
        let (name, device) = (source.name.clone(), source.device.clone());
        Ok(Box::new(Loaded { sessions, idle, bound, name, is_openvino, device, properties }))
    }
}

impl Backend for OnnxRuntime {
    fn load(&self, source: &ModelSource) -> Result<Box<dyn Model>, LoadError> {
        self.load_with(source, self.rules, true)
    }

    /// Without optimisations: both sides of a comparison would have the same ones, also if one of them is wrong.
    fn load_reference(&self, source: &ModelSource) -> Result<Box<dyn Model>, LoadError> {
        self.load_with(source, self.rules.of_a_reference(), false)
    }

    fn description(&self) -> String {
        format!("ONNX Runtime: {}", ort::info())
    }

    fn devices(&self) -> Vec<DeviceDescription> {
        let mut devices: Vec<_> = self
            .environment
            .devices()
            .filter(|device| !plugins::is_of_plugin(device))
            .map(|device| plugins::described(&device, None))
            .collect();
        if let Some(cpu) = devices.iter_mut().find(|device| device.provider == "CPUExecutionProvider") {
            cpu.target = Some(Device::Cpu.to_string());
        }
        // A provider of the old kind does not list its devices.
        for provider in Provider::carried().unwrap_or_default() {
            if devices.iter().all(|device| device.provider != provider.ep) {
                devices.push(self.carried(provider));
            }
        }
        devices
    }

    fn devices_of(&self, chip: &Chip) -> Result<Vec<DeviceDescription>, LoadError> {
        let failed = |error: &dyn std::fmt::Display| LoadError(error.to_string());
        let is_usable = || trial::open(&self.environment, &Device::Chip(Arc::new(chip.clone())));
        match &chip.library {
            Some(path) => {
                let device = plugins::select(&self.environment, chip, path).map_err(|error| failed(&error))?;
                is_usable()?;
                Ok(vec![plugins::described(&device, Some(path))])
            }
            None => {
                let provider = Provider::of(&chip.provider).map_err(|error| failed(&error))?;
                provider.check_carried().map_err(|error| failed(&error))?;
                provider.build(chip.device.as_deref(), &chip.options).map_err(|error| failed(&error))?;
                is_usable()?;
                Ok(self.devices().into_iter().filter(|device| device.provider == provider.ep).collect())
            }
        }
    }
}

impl OnnxRuntime {
    /// A provider that the library carries and that does not list its devices. Its first device can be used, or its target is
    /// left out, with the reason.
    fn carried(&self, provider: &Provider) -> DeviceDescription {
        let (mut target, mut details) = (None, BTreeMap::new());
        if provider.name == "cuda" {
            match trial::open(&self.environment, &Device::Cuda(0)) {
                Ok(()) => target = Some(Device::Cuda(0).to_string()),
                Err(error) => drop(details.insert("not usable".to_owned(), error.to_string())),
            }
        }
        let (kind, vendor) = (String::new(), String::new());
        DeviceDescription { target, provider: provider.ep.to_owned(), kind, vendor, library: None, details }
    }

    /// The kind of hardware of a chip that a further library has.
    fn kind_of(&self, device: &Device) -> Option<String> {
        let Device::Chip(chip) = device else { return None };
        let path = chip.library.as_ref()?;
        let device = plugins::select(&self.environment, chip, path).ok()?;
        Some(plugins::described(&device, None).kind)
    }
}

/// A model that the chip does not compute at all is refused: it would silently run on the processor.
fn check_placement(device: &Device, placement: &[Placement]) -> Result<(), String> {
    let on_cpu: Vec<_> = placement.iter().filter(|placement| placement.provider == CPU_PROVIDER).collect();
    if on_cpu.is_empty() || on_cpu.len() < placement.len() {
        return Ok(());
    }
    let nodes: usize = on_cpu.iter().map(|placement| placement.nodes).sum();
    let operators: Vec<_> = on_cpu.iter().flat_map(|placement| &placement.operators).map(String::as_str).collect();
    Err(format!(
        "target `{device}`: its provider computes none of the {nodes} nodes, so all would run on the CPU ({}). Set `target \
         = \"cpu\"`, or options of the provider with which it accepts the model",
        operators.join(", ")
    ))
}

/// `declared` are the shapes that the file declares. The library derives shapes from the inputs, and will return these
/// shapes, but it reports a value without a shape like a scalar.
fn signature(outlet: &Outlet, declared: &HashMap<String, Option<DeclaredShape>>) -> Result<Signature, LoadError> {
    let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
        return Err(LoadError(format!(
            "`{}` is not a tensor, and the host has tensors only: export the model with tensors as inputs and outputs",
            outlet.name()
        )));
    };
    let Some(known) = element_type(*ty) else {
        return Err(LoadError(format!(
            "`{}` has the element type {ty}, which the host does not support; export the model with this input or output as \
             float16, bfloat16, float, double, bool, string, or int8 to int64 or uint8 to uint64",
            outlet.name()
        )));
    };
    let derived: DeclaredShape = shape.iter().map(|&size| u32::try_from(size).ok()).collect();
    let declared = declared.get(outlet.name()).cloned().flatten();
    let shape = match declared {
        declared if derived.is_empty() => declared,
        Some(declared) if declared.len() == derived.len() => {
            Some(derived.iter().zip(declared).map(|(derived, declared)| derived.or(declared)).collect())
        }
        _ => Some(derived),
    };
    Ok(Signature { name: outlet.name().to_owned(), types: vec![known], shape })
}
