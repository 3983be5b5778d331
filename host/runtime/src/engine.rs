//! The wasmtime engines: one for all cores and one for each, with pooled instances and an epoch that advances.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::JoinHandle;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy};

use self::cores::CoreEngines;
use self::function_cache::FunctionCache;
use crate::panics::fault_point;
use crate::scheduling::tick::TICK;
use crate::scheduling::{Scheduler, Scheduling};

pub mod cores;
pub mod function_cache;
pub mod kept;
mod pool_usage;

pub use pool_usage::PoolUsage;

/// Components from Rust have three core instances, those from JavaScript and Python up to a dozen.
const CORE_INSTANCES_PER_STAGE: u32 = 16;
/// A component may have several linear memories. Each reserves 4 GiB of address space and its guard region.
const MEMORIES_PER_STAGE: u32 = 4;
/// The heap of garbage-collected objects and of exceptions takes a memory of the pool. A store has at most one, and it
/// makes it when the first such object is made.
const GC_HEAPS_PER_STAGE: u32 = 1;
/// Shim and fix-up modules of a component have tables too.
const TABLES_PER_STAGE: u32 = 8;
/// CPython's function table has about 12,000 entries. A reserved entry that is not touched costs no memory.
const TABLE_ELEMENTS: usize = 100_000;
/// Maximum number of unused slots that stay warm; the least recently used one is replaced. This bounds the resident memory
/// of versions that no longer serve.
const WARM_SLOTS: u32 = 32;
/// Bytes of each table that a slot keeps resident. Zeroing a small table is 5 µs cheaper per instance than giving its page
/// back and faulting it in again (`cargo bench --bench parts`).
const KEEP_TABLE: usize = 64 << 10;
/// Metadata of one component or core instance, in bytes. Components of interpreters exceed the default.
const INSTANCE_BYTES: usize = 4 << 20;

/// An engine, the scheduler of its guests, and the thread that advances its epoch while this value lives.
pub struct Runtime {
    /// Compiles components and creates stores.
    pub engine: Engine,
    /// Schedules the guests of this engine.
    pub scheduler: Arc<Scheduler>,
    /// Functions that `engine` has compiled. They are cleared when the stages are built.
    pub functions: Arc<FunctionCache>,
    /// An engine for each core, in addition to `engine`, with the same settings.
    pub cores: Arc<CoreEngines>,
    quick: Arc<OnceLock<Option<Engine>>>,
    ticker: Arc<Ticker>,
}

impl Runtime {
    /// An engine with `slots` slots for live stages. `memory` is what the process may use, in bytes, if that is known: it decides
    /// how much memory unused slots of the engines of the cores keep.
    ///
    /// # Errors
    /// If wasmtime rejects the configuration on this machine.
    pub fn new(slots: u32, scheduling: Scheduling, memory: Option<u64>) -> wasmtime::Result<Self> {
        let functions = Arc::new(FunctionCache::default());
        let mut config = config();
        config.enable_incremental_compilation(Arc::clone(&functions) as Arc<_>)?;
        let mut is_pooled = true;
        let pooled = InstanceAllocationStrategy::Pooling(pool(slots));
        let engine = match Engine::new(config.clone().allocation_strategy(pooled)) {
            Ok(engine) => engine,
            Err(error) => {
                is_pooled = false;
                tracing::warn!(
                    %error, slots,
                    "not enough address space for the instance pool; instances are allocated on demand, which is slower"
                );
                Engine::new(&config)?
            }
        };
        let cores = match is_pooled {
            true => CoreEngines::new(memory, |kept| {
                let mut pool = pool(cores::SLOTS);
                pool.max_unused_warm_slots(cores::WARM_SLOTS).linear_memory_keep_resident(kept);
                Engine::new(self::config().allocation_strategy(InstanceAllocationStrategy::Pooling(pool)))
            }),
            false => CoreEngines::none(),
        };
        let this = Self::with_engine(engine, cores, functions, scheduling)?;
        if !is_pooled {
            // There is even less address space for instances on demand of a second engine.
            let _ = this.quick.set(None);
        }
        Ok(this)
    }

    /// An engine whose guests can be inspected: their memories, globals and frames. Guests run slower. Instances are
    /// allocated on demand, because there is one at a time.
    ///
    /// # Errors
    /// As [`Runtime::new`].
    pub fn with_guest_debug() -> wasmtime::Result<Self> {
        let engine = Engine::new(config().guest_debug(true))?;
        Self::with_engine(engine, CoreEngines::none(), Arc::default(), Scheduling::Fair)
    }

    fn with_engine(
        engine: Engine,
        cores: CoreEngines,
        functions: Arc<FunctionCache>,
        scheduling: Scheduling,
    ) -> wasmtime::Result<Self> {
        let (quick, cores) = (Arc::new(OnceLock::<Option<Engine>>::new()), Arc::new(cores));
        let (ticks, also, of_cores) = (engine.clone(), Arc::clone(&quick), Arc::clone(&cores));
        let ticker = Arc::new(Ticker::start(move || {
            fault_point("epoch");
            ticks.increment_epoch();
            of_cores.all_open().for_each(Engine::increment_epoch);
            if let Some(Some(quick)) = also.get() {
                quick.increment_epoch();
            }
        })?);
        let scheduler = Scheduler::new(scheduling).with_clock(Arc::clone(&ticker) as Arc<_>);
        Ok(Self { ticker, engine, cores, functions, quick, scheduler: Arc::new(scheduler) })
    }

    /// The engine that compiles in one pass ([Winch](https://docs.rs/wasmtime-winch)): in an eighth of the time, to code that
    /// is several times slower. It lacks some proposals, and allocates instances on demand. `None` where there is none.
    pub fn quick_engine(&self) -> Option<&Engine> {
        let open = || {
            let mut config = config();
            config.strategy(Strategy::Winch).wasm_exceptions(false).wasm_gc(false);
            Engine::new(&config).inspect_err(|error| tracing::debug!("no quick compiler: {error:#}")).ok()
        };
        let is_known = cfg!(target_arch = "x86_64");
        self.quick.get_or_init(|| if is_known { open() } else { None }).as_ref()
    }

    /// The current use of the instance pools; `None` if instances are allocated on demand.
    pub fn pool_usage(&self) -> Option<PoolUsage> {
        PoolUsage::of(std::iter::once(&self.engine).chain(self.cores.all_open()))
    }

    /// The state of the thread that advances the epoch. If it does not run, no deadline of a guest is enforced.
    pub fn epoch_thread(&self) -> EpochThread {
        EpochThread {
            is_running: self.ticker.thread.as_ref().is_some_and(|thread| !thread.is_finished()),
            panics: self.ticker.panics.load(Relaxed),
        }
    }
}

/// The state of the thread that advances the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochThread {
    /// True unless the thread has ended.
    pub is_running: bool,
    /// How often it panicked and continued.
    pub panics: u64,
}

/// The settings that all engines share; instances are allocated on demand.
pub fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .wasm_component_model(true)
        .wasm_multi_memory(true)
        .wasm_simd(true)
        // Exceptions and garbage collection: wasmtime keeps their objects in a memory of its own, whose growth the cap
        // counts like that of a linear memory.
        .wasm_exceptions(true)
        .wasm_gc(true)
        .wasm_wide_arithmetic(true)
        // A 64-bit memory could ask for more than the cap's arithmetic and a slot of the pool support.
        .wasm_memory64(false)
        // The call stack of a leak is deep; the default of 20 frames would cut off the plugin's own part.
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(64))
        .memory_init_cow(true);
    config
}

/// The instance pool of an engine with `slots` slots for stages.
pub fn pool(slots: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES_PER_STAGE))
        .total_memories(slots.saturating_mul(MEMORIES_PER_STAGE + GC_HEAPS_PER_STAGE))
        .total_gc_heaps(slots.saturating_mul(GC_HEAPS_PER_STAGE))
        .total_tables(slots.saturating_mul(TABLES_PER_STAGE))
        .total_stacks(slots)
        .max_memories_per_module(MEMORIES_PER_STAGE)
        .max_tables_per_module(TABLES_PER_STAGE)
        // One component may not take the slots of others: a component that needs more than its share is rejected when it is
        // deployed.
        .max_core_instances_per_component(CORE_INSTANCES_PER_STAGE)
        .max_memories_per_component(MEMORIES_PER_STAGE)
        .max_tables_per_component(TABLES_PER_STAGE)
        .max_component_instance_size(INSTANCE_BYTES)
        .max_core_instance_size(INSTANCE_BYTES)
        .table_elements(TABLE_ELEMENTS)
        .max_unused_warm_slots(WARM_SLOTS)
        .table_keep_resident(KEEP_TABLE)
        .linear_memory_keep_resident(kept::COMMON)
        // Never use `PAGEMAP_SCAN`, with which only dirty pages would be zeroed. It reports pages that are present. A page
        // that is swapped out, or that the kernel is migrating to make room, is not present: with it, one of a thousand
        // requests found the data of the request before it while memory was compacted (`bench.py pressure`).
        .pagemap_scan(Enabled::No);
    pool
}

/// Advances the epoch every [`TICK`] until dropped.
struct Ticker {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    panics: Arc<AtomicU64>,
}

impl Ticker {
    /// Calls `tick` every [`TICK`]. A panic is counted, and the thread continues.
    fn start(mut tick: impl FnMut() + Send + 'static) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel::<()>();
        let panics = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&panics);
        let mut run = move || {
            while stopped.recv_timeout(TICK) == Err(mpsc::RecvTimeoutError::Timeout) {
                tick();
            }
        };
        let thread = std::thread::Builder::new().name("epoch".into()).spawn(move || {
            while catch_unwind(AssertUnwindSafe(&mut run)).is_err() {
                counted.fetch_add(1, Relaxed);
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread), panics })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_advances_while_a_run_holds_the_scheduler() {
        let runtime = Runtime::with_guest_debug().expect("an engine");
        let (scheduler, ticker) = (Arc::clone(&runtime.scheduler), Arc::downgrade(&runtime.ticker));
        drop(runtime);
        assert!(ticker.upgrade().is_some(), "the guest of the run can still be stopped");
        drop(scheduler);
        assert!(ticker.upgrade().is_none());
    }

    #[test]
    fn the_epoch_advances_after_a_panic_which_is_counted() {
        let (ticked, ticks) = mpsc::channel();
        let mut count = 0;
        let ticker = Ticker::start(move || {
            count += 1;
            assert_ne!(count, 2, "the second tick panics");
            let _ = ticked.send(count);
        });
        let ticker = ticker.expect("a thread");
        let seen: Vec<u32> = ticks.iter().take(3).collect();
        assert_eq!(seen, [1, 3, 4]);
        assert_eq!(ticker.panics.load(Relaxed), 1);
    }
}
