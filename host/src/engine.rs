//! The wasmtime engine: one for the process, with pooled instances and a ticking epoch.

use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// How often a running guest looks whether its deadline has passed, and lets other tasks run. Coarser ticks let a
/// deadline fire late by as much, and make others wait: beside a slow pipeline a fast one had a median of 10 ms with ticks
/// of 5 ms and of 7 ms with these; with 1 ms it was no less.
pub const TICK: Duration = Duration::from_millis(2);

/// Components from Rust have three core instances, those from JavaScript and Python up to a dozen.
const CORE_INSTANCES_PER_STAGE: u32 = 16;
/// A component may bring several linear memories; each reserves 4 GiB of address space and its guard.
const MEMORIES_PER_STAGE: u32 = 4;
/// Shim and fix-up modules of a component have tables too.
const TABLES_PER_STAGE: u32 = 8;
/// CPython's function table has about 12,000 entries; a reserved entry that is not touched costs no memory.
const TABLE_ELEMENTS: usize = 100_000;
/// What a slot keeps of each linear memory, in bytes: so much of its beginning is written anew in place for the next
/// instance, whether it was touched or not, and the rest is given back to the kernel and faulted in again. Small plugins
/// are whole in it, and so is what makes a tensor of 224 × 224 from a photo of 640 × 480; a plugin with a large snapshot
/// pays for it with 25 µs (host/docs/performance.md).
const KEEP_MEMORY: usize = 5 << 18;
/// So many slots that are not in use may keep what they keep; one more takes the place of the least recently used. It
/// bounds what versions that no longer serve leave resident.
const WARM_SLOTS: u32 = 32;
/// What a slot keeps of each table, in bytes. To zero a small table is cheaper by 5 µs an instance than to give its page
/// back and to fault it in again (`cargo bench --bench parts`).
const KEEP_TABLE: usize = 64 << 10;
/// Metadata of one component or core instance; the interpreters' components exceed the default.
const INSTANCE_BYTES: usize = 4 << 20;

/// The engine and the thread that advances its epoch for as long as this value lives.
pub struct Engines {
    /// What components are compiled for and stores are made of.
    pub engine: Engine,
    _ticker: Ticker,
}

impl Engines {
    /// Takes the number of stages that may be live at once; gives an engine with a slot for each.
    ///
    /// # Errors
    /// When wasmtime refuses the configuration on this machine.
    pub fn new(slots: u32) -> wasmtime::Result<Self> {
        let engine = match Engine::new(config().allocation_strategy(InstanceAllocationStrategy::Pooling(pool(slots)))) {
            Ok(engine) => engine,
            Err(error) => {
                tracing::warn!(
                    %error, slots,
                    "the address space holds no instance pool; instances are allocated on demand, which is slower"
                );
                Engine::new(&config())?
            }
        };
        Ok(Self { _ticker: Ticker::start(engine.clone()), engine })
    }

    /// An engine for the leak laboratory: its guests run slower, and their memories, globals and frames can be looked
    /// at. Instances are allocated on demand, for there is one at a time.
    ///
    /// # Errors
    /// As [`Engines::new`].
    pub fn laboratory() -> wasmtime::Result<Self> {
        let engine = Engine::new(config().guest_debug(true))?;
        Ok(Self { _ticker: Ticker::start(engine.clone()), engine })
    }

    /// The pool of instances as of now; `None` where they are allocated on demand.
    pub fn pool(&self) -> Option<crate::memory::process::Pool> {
        crate::memory::process::Pool::of(&self.engine)
    }
}

/// What all engines have in common, instances allocated on demand.
pub fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .wasm_component_model(true)
        .wasm_multi_memory(true)
        .wasm_simd(true)
        // A 64-bit memory may ask for more than the cap's arithmetic and a slot of the pool hold.
        .wasm_memory64(false)
        // A leak's call stack is deep; the default of 20 frames cuts off the plugin's own part.
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(64))
        .memory_init_cow(true);
    config
}

/// The pool of an engine, with so many slots for stages.
pub fn pool(slots: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES_PER_STAGE))
        .total_memories(slots.saturating_mul(MEMORIES_PER_STAGE))
        .total_tables(slots.saturating_mul(TABLES_PER_STAGE))
        .total_stacks(slots)
        .max_memories_per_module(MEMORIES_PER_STAGE)
        .max_tables_per_module(TABLES_PER_STAGE)
        .max_component_instance_size(INSTANCE_BYTES)
        .max_core_instance_size(INSTANCE_BYTES)
        .table_elements(TABLE_ELEMENTS)
        .max_unused_warm_slots(WARM_SLOTS)
        .table_keep_resident(KEEP_TABLE)
        .linear_memory_keep_resident(KEEP_MEMORY)
        // Never `PAGEMAP_SCAN`, by which only dirty pages would be zeroed. It asks for pages that are present, and one
        // that is swapped out, or that the kernel is just moving to make room, is not: with it, one of a thousand
        // requests found what the one before had written while memory was compacted (`bench.py pressure`).
        .pagemap_scan(Enabled::No);
    pool
}

/// Advances the epoch every [`TICK`] until dropped.
struct Ticker {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: Engine) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("epoch".into())
            .spawn(move || {
                while stopped.recv_timeout(TICK) == Err(mpsc::RecvTimeoutError::Timeout) {
                    engine.increment_epoch();
                }
            })
            .expect("the process may start one thread");
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The time that this thread has computed. Not that of the clock: others may have had the core meanwhile.
pub(crate) fn busy() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
