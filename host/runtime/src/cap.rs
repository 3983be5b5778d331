//! The memory cap of a store, and the meter that records its high-water mark.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use wasmtime::ResourceLimiter;

use crate::lack::Lack;

/// Bytes of a page of linear memory.
pub const PAGE: u64 = 64 << 10;

/// Maximum number of batches that a meter keeps; a guest may run its model often.
const MAX_BATCHES: usize = 16;

/// Maximum entries of one table; beyond this, `table.grow` returns −1.
const MAX_TABLE_ELEMENTS: usize = 100_000;

/// Records the memory of one stage run, in bytes. It outlives the store, so that a cancelled run is counted too.
#[derive(Debug, Default)]
pub struct Meter {
    initial: AtomicU64,
    high_water: AtomicU64,
    refused: AtomicU64,
    host: AtomicU64,
    resources: AtomicU64,
    batches: Mutex<Vec<BatchWait>>,
}

/// How long a stage run waited for a batch of its model.
#[derive(Debug, Clone, Copy)]
pub struct BatchWait {
    /// When it began to wait.
    pub since: Instant,
    /// When the batch was sent to the device.
    pub sent: Instant,
    /// The rows of the batch.
    pub rows: u32,
    /// The runs in the batch.
    pub runs: usize,
}

/// A reading of a [`Meter`]. All values are in bytes, except `refused` and `resources`, which are counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// Linear memory right after instantiation.
    pub initial: u64,
    /// Highest sum of the store's linear memories and of its heap of garbage-collected objects, if it has one. Exact, because
    /// neither ever shrinks.
    pub high_water: u64,
    /// Number of growths, of linear memory or of tensors, that the cap refused.
    pub refused: u64,
    /// Highest sum of tensor bytes that the host held for the stage.
    pub host: u64,
    /// Number of resources (tensors, streams, models …) that the run left in its store's table.
    pub resources: u64,
}

impl Usage {
    /// Bytes by which linear memory grew after instantiation.
    pub fn grown(&self) -> u64 {
        self.high_water.saturating_sub(self.initial)
    }
}

impl Meter {
    /// Marks the end of instantiation: the current linear memory becomes `initial`.
    pub fn mark_initial(&self) {
        self.initial.store(self.high_water.load(Relaxed), Relaxed);
    }

    pub(crate) fn record_host_bytes(&self, bytes: u64) {
        self.host.fetch_max(bytes, Relaxed);
    }

    pub(crate) fn record_resources(&self, count: u64) {
        self.resources.store(count, Relaxed);
    }

    pub(crate) fn record_refusal(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub(crate) fn record_batch(&self, wait: BatchWait) {
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        if batches.len() < MAX_BATCHES {
            batches.push(wait);
        }
    }

    /// Takes the first batches that the run waited for.
    pub(crate) fn take_batches(&self) -> Vec<BatchWait> {
        std::mem::take(&mut *self.batches.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The current values.
    pub fn usage(&self) -> Usage {
        Usage {
            initial: self.initial.load(Relaxed),
            high_water: self.high_water.load(Relaxed),
            refused: self.refused.load(Relaxed),
            host: self.host.load(Relaxed),
            resources: self.resources.load(Relaxed),
        }
    }
}

/// A refused growth. It ends the guest and carries the backtrace of the allocation.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the memory limit (`{key}`) is {limit} bytes, but {what} would need {wanted} bytes")]
pub struct MemoryLimit {
    /// The cap in bytes.
    pub limit: u64,
    /// Bytes that the stage would have held.
    pub wanted: u64,
    /// `linear memory`, or `tensors held by the host`.
    pub what: &'static str,
    /// The key of the limit in the configuration.
    pub key: &'static str,
}

/// The memory of a whole request: that of its live instances, and the tensors that they made.
#[derive(Debug)]
pub struct RequestMemory {
    limit: u64,
    held: AtomicU64,
}

impl RequestMemory {
    /// A request that may hold so many bytes.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, held: AtomicU64::new(0) })
    }

    /// Bytes that count until the value is dropped.
    pub(crate) fn hold(self: &Arc<Self>, bytes: u64) -> Result<RequestBytes, MemoryLimit> {
        let mut held = RequestBytes { memory: Arc::clone(self), bytes: 0 };
        held.grow(bytes)?;
        Ok(held)
    }
}

/// Bytes of a request.
#[derive(Debug)]
pub(crate) struct RequestBytes {
    memory: Arc<RequestMemory>,
    bytes: u64,
}

impl RequestBytes {
    fn grow(&mut self, bytes: u64) -> Result<(), MemoryLimit> {
        let RequestMemory { limit, held } = &*self.memory;
        // One step: another run must not see bytes that are refused.
        let more = |held: u64| held.checked_add(bytes).filter(|wanted| wanted <= limit);
        if let Err(held) = held.fetch_update(Relaxed, Relaxed, more) {
            let wanted = held.saturating_add(bytes);
            let what = "all instances and tensors of the request";
            return Err(MemoryLimit { limit: *limit, wanted, what, key: "max_request_memory" });
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for RequestBytes {
    fn drop(&mut self) {
        self.memory.held.fetch_sub(self.bytes, Relaxed);
    }
}

/// Limits the sum of all linear memories of a store, and of its heap of garbage-collected objects, which wasmtime grows like
/// a memory.
#[derive(Debug)]
pub struct MemoryCap {
    limit: u64,
    held: u64,
    meter: Arc<Meter>,
    /// The same bytes in the limit of the request, if it has one.
    request: Option<RequestBytes>,
}

impl MemoryCap {
    /// A cap of `limit` bytes that reports to `meter`.
    pub fn new(limit: u64, meter: Arc<Meter>) -> Self {
        Self { limit, held: 0, meter, request: None }
    }

    /// Counts the memory in the limit of a request, too. Call it before the instance is made.
    pub(crate) fn count_in(&mut self, memory: &Arc<RequestMemory>) {
        self.request = Some(RequestBytes { memory: Arc::clone(memory), bytes: 0 });
    }

    /// Removes the cap: the snapshot reads memory through accessors that grow it by a page.
    pub(crate) fn remove(&mut self) {
        self.limit = u64::MAX;
    }
}

impl ResourceLimiter for MemoryCap {
    /// Called for every growth and at instantiation (from 0). A refusal is a typed error and not `Ok(false)`, because
    /// after `Ok(false)` a guest aborts by itself, and its trap looks like any panic.
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            // Beyond the memory's declared maximum the growth fails in any case, and must not be counted.
            return Ok(false);
        }
        let wanted = self.held.saturating_add((desired - current) as u64);
        if wanted > self.limit {
            self.meter.refused.fetch_add(1, Relaxed);
            return Err(MemoryLimit { limit: self.limit, wanted, what: "linear memory", key: "max_memory" }.into());
        }
        if let Some(request) = &mut self.request {
            request.grow((desired - current) as u64).inspect_err(|_| self.meter.record_refusal())?;
        }
        self.held = wanted;
        self.meter.high_water.fetch_max(wanted, Relaxed);
        Ok(true)
    }

    /// The cap allowed the growth, but the machine has no memory for it. Without this error the guest would abort, and the
    /// plugin would seem broken.
    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        if Lack::in_chain(error.chain()).is_some() { Err(error) } else { Ok(()) }
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        if Lack::in_chain(error.chain()).is_some() { Err(error) } else { Ok(()) }
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_request_are_counted_until_they_are_dropped() {
        let request = RequestMemory::new(100);
        let first = request.hold(60).expect("it fits");
        let error = request.hold(41).expect_err("too much");
        assert_eq!((error.limit, error.wanted, error.key), (100, 101, "max_request_memory"));
        drop(first);
        let mut cap = MemoryCap::new(1000, Arc::default());
        cap.count_in(&request);
        assert!(cap.memory_growing(0, 70, None).is_ok_and(|grown| grown));
        let error = cap.memory_growing(70, 101, None).expect_err("too much");
        assert_eq!(error.downcast_ref::<MemoryLimit>().map(|limit| limit.key), Some("max_request_memory"));
        assert!(request.hold(31).is_err());
        drop(cap);
        assert!(request.hold(100).is_ok());
    }

    #[test]
    fn a_growth_that_the_operating_system_refuses_ends_the_guest() {
        let mut cap = MemoryCap::new(1, Arc::default());
        assert!(cap.memory_grow_failed(rustix::io::Errno::NOMEM.into()).is_err());
        assert!(cap.memory_grow_failed(wasmtime::Error::msg("the maximum of the memory")).is_ok());
    }
}
