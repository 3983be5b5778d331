//! Which runs are bound (`OrtIoBinding`), and to which memory. A device with memory of its own copies directly from and to
//! memory of the host that its provider allocates ("pinned"); ordinary memory is copied once more on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use ort::environment::Environment;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};

use super::c_api::host_memory::{HostMemory, HostMemoryBlock, Place};
use super::c_api::shared_session::SharedSession;
use super::plugins;
use super::providers::Provider;
use super::settings::RunRules;
use crate::nn::bound_budget::{BOUND_MEMORY, BoundBytes};
use crate::nn::device::Device;
use crate::nn::host_buffers::{HostBuffer, HostBuffers};
use crate::nn::model::Signature;
use crate::tensor::Tensors;

/// The batches that are in memory at once: two in flight, and the one that is gathered.
const BATCHES: usize = 3;
/// The most bytes that are reserved for a model. Memory that a device reads directly cannot be swapped.
const MAX_BYTES: usize = 256 << 20;

/// The memory to which the runs of a model are bound.
pub(super) struct BoundMemory {
    memory: Arc<HostMemory>,
    /// For the outputs that are not written to `memory`.
    ordinary: Place,
    outputs: Vec<OutputSize>,
    buffers: Arc<HostBuffers>,
    /// The most bytes of all models.
    limit: u64,
    has_warned: AtomicBool,
}

/// The bytes of an output, as far as they are known before a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OutputSize {
    Fixed(usize),
    EachRow(usize),
    /// Strings, which no device has, and outputs whose sizes only the run tells: they are in ordinary memory, because the
    /// limit could not be kept.
    Unknown,
}

impl OutputSize {
    fn of(output: &Signature) -> Self {
        let size = output.types.first().and_then(|ty| ty.size());
        let (Some(size), Some(shape)) = (size, &output.shape) else { return Self::Unknown };
        let (first, others) = match shape.split_first() {
            Some((None, others)) => (None, others),
            _ => (Some(1), shape.as_slice()),
        };
        let mut all = others.iter().map(|size| size.and_then(|size| usize::try_from(size).ok()));
        let bytes = all.try_fold(size, |all, size| all.checked_mul(size?));
        match (bytes, first) {
            (None, _) => Self::Unknown,
            (Some(bytes), None) => Self::EachRow(bytes),
            (Some(bytes), Some(_)) => Self::Fixed(bytes),
        }
    }
}

/// Where the outputs of a run are written.
pub(super) struct OutputPlaces<'a> {
    /// One for each output.
    pub(super) places: Vec<&'a Place>,
    outputs: &'a [OutputSize],
    taken: BoundBytes<'static>,
}

impl OutputPlaces<'_> {
    /// Counts what the run really took. The first dimension of an output need not be the number of rows.
    pub(super) fn correct(&mut self, outputs: &Tensors) {
        let bound = outputs.iter().zip(self.outputs).filter(|(_, size)| **size != OutputSize::Unknown);
        self.taken.correct(bound.map(|((_, tensor), _)| tensor.data.len()).sum());
    }
}

/// A reserved block, with its part of the limit.
struct Reserved(HostMemoryBlock, #[expect(dead_code, reason = "it is dropped with the block")] BoundBytes<'static>);

impl AsRef<[u8]> for Reserved {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl AsMut<[u8]> for Reserved {
    fn as_mut(&mut self) -> &mut [u8] {
        self.0.as_mut()
    }
}

impl BoundMemory {
    /// The memory for the runs of a model on a device. `None` if the provider has no such memory, and the configuration
    /// does not demand that runs are bound (`io_binding`), or if it says that they are not.
    ///
    /// # Errors
    /// If the library has no description of ordinary memory.
    pub(super) fn find(
        rules: RunRules,
        environment: &Environment,
        device: &Device,
        session: &Arc<SharedSession>,
        outputs: &[Signature],
    ) -> Result<Option<Self>, ort::Error> {
        let wanted = rules.io_binding;
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
        Ok(Some(Self {
            memory: Arc::new(memory),
            ordinary: ordinary()?,
            outputs: outputs.iter().map(OutputSize::of).collect(),
            buffers: Arc::default(),
            limit: rules.max_bound_memory,
            has_warned: AtomicBool::new(false),
        }))
    }

    /// The library's name of the memory.
    pub(super) fn name(&self) -> String {
        self.memory.place().name()
    }

    /// Where each output of a run of `rows` is written. `None` if there is no room for them: then the run is not bound, which
    /// is counted.
    pub(super) fn places(&self, model: &str, rows: u32) -> Option<OutputPlaces<'_>> {
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        let bytes = |output: &OutputSize| match output {
            OutputSize::Fixed(bytes) => *bytes,
            OutputSize::EachRow(bytes) => bytes.saturating_mul(rows),
            OutputSize::Unknown => 0,
        };
        let all = self.outputs.iter().map(bytes).fold(0, usize::saturating_add);
        let Some(taken) = BOUND_MEMORY.take(all, self.limit) else {
            BOUND_MEMORY.count_unbound_run();
            if !self.has_warned.swap(true, Relaxed) {
                tracing::warn!(
                    "model {model}: {}, so its runs take ordinary memory when there is no room for {all} bytes of outputs \
                     (`unbound_runs` in GET /v1/memory counts them)",
                    self.full()
                );
            }
            return None;
        };
        let place = |output: &OutputSize| match output {
            OutputSize::Unknown => &self.ordinary,
            OutputSize::Fixed(_) | OutputSize::EachRow(_) => self.memory.place(),
        };
        Some(OutputPlaces { places: self.outputs.iter().map(place).collect(), outputs: &self.outputs, taken })
    }

    fn full(&self) -> String {
        format!(
            "the models have {} of at most {} bytes of memory to which runs are bound (`max_bound_memory` in \
             [backends.onnxruntime])",
            BOUND_MEMORY.figures().bytes,
            self.limit
        )
    }

    /// Reserves buffers for inputs of these sizes. Where there is too little memory, batches use ordinary memory.
    pub(super) fn reserve(&self, model: &str, sizes: &[usize]) {
        let one: usize = sizes.iter().fold(0, |all, size| all.saturating_add(*size));
        for _ in 0..BATCHES.min(MAX_BYTES / one.max(1)) {
            for &bytes in sizes {
                let Some(taken) = BOUND_MEMORY.take(bytes, self.limit) else {
                    tracing::warn!("model {model}: {}, so batches are gathered in ordinary memory", self.full());
                    return;
                };
                match self.memory.allocate(bytes) {
                    Ok(block) => self.buffers.add(Box::new(Reserved(block, taken))),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::TensorType;

    #[test]
    fn the_size_of_an_output_is_known_if_only_its_rows_are_dynamic() {
        let size = |ty, shape: Option<&[Option<u32>]>| {
            let shape = shape.map(<[_]>::to_vec);
            OutputSize::of(&Signature { name: "y".into(), types: vec![ty], shape })
        };
        assert_eq!(size(TensorType::Fp32, Some(&[None, Some(10)])), OutputSize::EachRow(40));
        assert_eq!(size(TensorType::Fp16, Some(&[Some(2), Some(3)])), OutputSize::Fixed(12));
        assert_eq!(size(TensorType::I64, Some(&[])), OutputSize::Fixed(8));
        assert_eq!(size(TensorType::U8, Some(&[None])), OutputSize::EachRow(1));
        for (ty, shape) in [
            (TensorType::Fp32, None),
            (TensorType::Fp32, Some(&[Some(1), None][..])),
            (TensorType::Bytes, Some(&[Some(1)][..])),
            (TensorType::Fp64, Some(&[None, Some(u32::MAX), Some(u32::MAX)][..])),
        ] {
            assert_eq!(size(ty, shape), OutputSize::Unknown, "{shape:?}");
        }
    }
}
