//! Loads a model: the session on its device, the first runs with every batch size, and the comparison with the CPU. A device
//! may hang in each of these, and no call of its library can be interrupted. So a load on a device is made by a thread of its
//! own, which is given up after `load_deadline`: it must not block the start or a deployment.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use plimsoll_runtime::nn::{
    Backend, Batches, Device, LoadError, LoadFigures, LoadedModel, Model, ModelSource, prove_rows,
};
use plimsoll_runtime::scheduling::Scheduling;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::file_store_error::FileStoreError;
use crate::base::allocator::trim;
use crate::base::process::{available_memory, resident_memory};
use crate::config;
use crate::records::metrics::BatchMetrics;

/// A model of at most these bytes is always loaded on the CPU too, to compare the outputs.
const MAX_COMPARED: u64 = 256 << 20;
/// A larger one is, if it has at most this part of the available memory: the library may hold its weights twice while it
/// arranges them.
const SHARE_COMPARED: u64 = 4;
/// How often the log says that a model is still being loaded.
pub(super) const REPORT: Duration = Duration::from_secs(30);

/// A model that is to be loaded.
pub(super) struct ModelLoad {
    pub(super) digest: String,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) permits: Arc<Semaphore>,
    pub(super) source: ModelSource,
    /// The size of its files.
    pub(super) file_bytes: u64,
    pub(super) batches: Option<Batches>,
    pub(super) scheduling: Scheduling,
    pub(super) wanted: config::Model,
}

/// The loads that were given up and have not ended: their numbers, by backend and target.
#[derive(Clone, Default)]
pub(super) struct HangingLoads(Arc<Mutex<BTreeMap<u64, String>>>);

impl ModelLoad {
    /// Loads the model, at most for its `load_deadline`; on the CPU only if it is set, because the process that tries a model has
    /// the default. While an earlier load on the same device hangs, it is refused at once, so that a device takes one thread and one copy of a model however often it is tried.
    pub(super) fn load(self, hanging: &HangingLoads) -> Result<LoadedModel, FileStoreError> {
        let Some(deadline) = self.wanted.hang_deadline() else { return self.load_here() };
        let (name, target) = (self.source.name.clone(), self.source.device.to_string());
        let device = format!("{} on {target}", self.wanted.backend.as_str());
        let failed = |reason| FileStoreError::Hangs { model: name.clone(), target: target.clone(), reason };
        if hanging.lock().values().any(|of| *of == device) {
            return Err(failed("an earlier load of a model there has not ended".to_owned()));
        }
        let (sender, result) = sync_channel(1);
        let (load, runtime) = (hanging.begin(), Handle::try_current().ok());
        let number = load.number;
        let thread = thread::Builder::new().name("model".to_owned()).spawn(move || {
            let _runtime = runtime.as_ref().map(Handle::enter);
            // Dropped after the result was sent, and also after a panic.
            let _load = load;
            let model = self.load_here();
            // The channel has room, and is closed if nothing waits any more; then the model is dropped here.
            let _ = sender.send(model);
        });
        let thread = thread.map_err(FileStoreError::NoThread)?;
        match wait(&result, deadline, &name, &target) {
            Ok(model) => model,
            Err(RecvTimeoutError::Disconnected) => match thread.join() {
                Err(panic) => resume_unwind(panic),
                Ok(()) => Err(failed("its thread ended without a result".to_owned())),
            },
            Err(RecvTimeoutError::Timeout) => {
                // Under this lock the thread cannot end: either the result is here, or it will find its entry.
                let mut loads = hanging.lock();
                if let Ok(model) = result.try_recv() {
                    return model;
                }
                loads.insert(number, device);
                Err(failed(format!("it has not ended after {deadline:?}")))
            }
        }
    }

    /// Loads the model on this thread, however long that takes.
    pub(super) fn load_here(self) -> Result<LoadedModel, FileStoreError> {
        let Self { digest, backend, permits, source, file_bytes, batches, scheduling, wanted } = self;
        let before = settled_memory();
        let loaded = backend.load(&source)?;
        let model = LoadedModel::new(source.name.clone(), digest, &source.bytes, loaded, permits, batches, scheduling);
        let model = model?.on(wanted.backend.as_str(), &wanted.device);
        let grown = settled_memory().zip(before).map(|(after, before)| after.saturating_sub(before));
        let mut model = model.with_memory(LoadFigures { resident: grown, files: file_bytes });
        check_memory(&model, &wanted)?;
        // Only now, so that the copy on the CPU is not measured.
        if wanted.compare_with_cpu
            && wanted.device != Device::Cpu
            && let Some(cpu) = load_on_cpu(&*backend, source)?
        {
            model = model.compared_with(&*cpu)?;
        }
        Ok(model)
    }
}

/// How runs of the model are combined; `None` if they are not.
pub(super) fn batches(wanted: &config::Model, source: &ModelSource, metrics: &BatchMetrics) -> Option<Batches> {
    wanted.batch_rules().map(|rules| Batches {
        rules,
        sizes: wanted.batch_sizes(),
        observer: metrics.for_model(&source.name),
        proof: prove_rows(&source.bytes),
        accepts_unproven: wanted.max_batch_unproven,
    })
}

/// Waits for a model. The log says at intervals that it is still being loaded.
fn wait<T>(result: &Receiver<T>, deadline: Duration, model: &str, target: &str) -> Result<T, RecvTimeoutError> {
    let since = Instant::now();
    loop {
        let left = deadline.saturating_sub(since.elapsed());
        match result.recv_timeout(left.min(REPORT)) {
            Err(RecvTimeoutError::Timeout) if left > REPORT => tracing::info!(
                "the model {model} is still being loaded on target {target}, for {:.0?}; it is given up after {deadline:?} \
                 (`load_deadline`)",
                since.elapsed()
            ),
            result => return result,
        }
    }
}

impl HangingLoads {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) -> Load {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Load { number: NEXT.fetch_add(1, Relaxed), since: Instant::now(), hanging: self.clone() }
    }
}

/// A load on a thread of its own.
struct Load {
    number: u64,
    since: Instant,
    hanging: HangingLoads,
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(device) = self.hanging.lock().remove(&self.number) {
            tracing::warn!(
                "{device}: the load of a model that was given up has ended after {:.0?}; its result is dropped",
                self.since.elapsed()
            );
        }
    }
}

/// The resident memory of the process without what the allocator only keeps.
fn settled_memory() -> Option<u64> {
    trim();
    resident_memory()
}

/// Refuses a model that holds more memory than it may.
pub(super) fn check_memory(model: &LoadedModel, wanted: &config::Model) -> Result<(), FileStoreError> {
    let (Some(cap), Some(memory)) = (wanted.max_device_memory, model.memory()) else { return Ok(()) };
    if memory.admitted <= cap.as_u64() {
        return Ok(());
    }
    let (model, target) = (model.name().to_owned(), model.target().to_owned());
    Err(FileStoreError::Memory { model, target, memory, cap })
}

/// The same model on the CPU, to compare its outputs. `None` if its copies of the weights would need too much memory.
fn load_on_cpu(backend: &dyn Backend, source: ModelSource) -> Result<Option<Box<dyn Model>>, LoadError> {
    let external = source.external.iter().map(|(_, bytes)| bytes.len());
    let bytes = source.bytes.len() + external.sum::<usize>();
    let available = available_memory().unwrap_or(0);
    let limit = (available / SHARE_COMPARED).max(MAX_COMPARED);
    if bytes as u64 > limit {
        tracing::warn!(
            "model {}: it is not known whether the outputs on target `{}` are those on the CPU. The comparison needs the \
             model in memory once more; it has {}, and at most {} are used for it, a quarter of the {} that are available. \
             Compare the answers with a shadow chip, give the process more memory, or set `compare_with_cpu = false`, which \
             also switches this warning off",
            source.name,
            source.device,
            ByteSize::b(bytes as u64),
            ByteSize::b(limit),
            ByteSize::b(available)
        );
        return Ok(None);
    }
    let source = ModelSource { device: Device::Cpu, options: BTreeMap::new(), ..source };
    backend.load_reference(&source).map(Some).map_err(|LoadError(error)| {
        LoadError(format!(
            "the outputs cannot be compared with those on the CPU: {error}. If only the CPU cannot run the model, \
             `compare_with_cpu = false` serves it without the comparison"
        ))
    })
}
