//! Which runs are bound (`OrtIoBinding`), and to which memory. A device with memory of its own copies directly from and to
//! memory of the host that its provider allocates ("pinned"); ordinary memory is copied once more on the way.

use std::sync::Arc;

use ort::environment::Environment;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};

use super::c_api::host_memory::{HostMemory, Place};
use super::c_api::shared_session::SharedSession;
use super::plugins;
use super::providers::Provider;
use crate::nn::device::Device;
use crate::nn::host_buffers::{HostBuffer, HostBuffers};
use crate::nn::model::Signature;
use crate::tensor::TensorType;

/// The batches that are in memory at once: two in flight, and the one that is gathered.
const BATCHES: usize = 3;
/// The most bytes that are reserved for a model. Memory that a device reads directly cannot be swapped.
const MAX_BYTES: usize = 256 << 20;

/// The memory to which the runs of a model are bound.
pub(super) struct BoundMemory {
    memory: Arc<HostMemory>,
    /// For outputs with strings, which no device has.
    ordinary: Place,
    is_text: Vec<bool>,
    buffers: Arc<HostBuffers>,
}

impl BoundMemory {
    /// The memory for the runs of a model on a device. `None` if the provider has no such memory, and the configuration
    /// does not demand that runs are bound (`wanted`), or if it says that they are not.
    ///
    /// # Errors
    /// If the library has no description of ordinary memory.
    pub(super) fn find(
        wanted: Option<bool>,
        environment: &Environment,
        device: &Device,
        session: &Arc<SharedSession>,
        outputs: &[Signature],
    ) -> Result<Option<Self>, ort::Error> {
        if wanted == Some(false) {
            return Ok(None);
        }
        let pinned = places(environment, device).into_iter().find_map(|place| HostMemory::new(session, place));
        let memory = match pinned {
            Some(pinned) => Some(pinned),
            None if wanted == Some(true) => HostMemory::new(session, ordinary()?),
            None => None,
        };
        let Some(memory) = memory else { return Ok(None) };
        let is_text = outputs.iter().map(|output| output.types.contains(&TensorType::Bytes)).collect();
        Ok(Some(Self { memory: Arc::new(memory), ordinary: ordinary()?, is_text, buffers: Arc::default() }))
    }

    /// The library's name of the memory.
    pub(super) fn name(&self) -> String {
        self.memory.place().name()
    }

    /// Where each output is written.
    pub(super) fn places(&self) -> Vec<&Place> {
        let place = |is_text: &bool| if *is_text { &self.ordinary } else { self.memory.place() };
        self.is_text.iter().map(place).collect()
    }

    /// Reserves buffers for inputs of these sizes. Where there is too little memory, batches use ordinary memory.
    pub(super) fn reserve(&self, model: &str, sizes: &[usize]) {
        let one: usize = sizes.iter().fold(0, |all, size| all.saturating_add(*size));
        for _ in 0..BATCHES.min(MAX_BYTES / one.max(1)) {
            for &bytes in sizes {
                match self.memory.allocate(bytes) {
                    Ok(block) => self.buffers.add(Box::new(block)),
                    Err(error) => {
                        tracing::warn!(
                            "model {model}: {bytes} bytes cannot be reserved in {} ({error}), so batches are gathered in \
                             ordinary memory",
                            self.name()
                        );
                        return;
                    }
                }
            }
        }
    }

    /// A reserved buffer.
    pub(super) fn buffer(&self, bytes: usize) -> Option<HostBuffer> {
        self.buffers.take(bytes)
    }
}

/// The memory of the host that the provider of a device may have. The session tells whether it has it.
fn places(environment: &Environment, device: &Device) -> Vec<Place> {
    let named = |names: &[&str], number: i32| {
        let info = |name: &&str| {
            MemoryInfo::new(AllocationDevice::new(name), number, AllocatorType::Device, MemoryType::CPUOutput).ok()
        };
        names.iter().filter_map(info).map(Place::new).collect()
    };
    match device {
        Device::Cpu => Vec::new(),
        Device::Cuda(number) => named(Provider::of("cuda").map_or(&[], |cuda| cuda.host_memory), *number),
        Device::Chip(chip) => match &chip.library {
            Some(path) => {
                let device = plugins::select(environment, chip, path).ok();
                device.and_then(|device| Place::of_device(&device)).into_iter().collect()
            }
            None => {
                let number = chip.device.as_deref().and_then(|device| device.parse().ok()).unwrap_or(0);
                named(Provider::of(&chip.provider).map_or(&[], |provider| provider.host_memory), number)
            }
        },
    }
}

fn ordinary() -> Result<Place, ort::Error> {
    MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default).map(Place::new)
}
