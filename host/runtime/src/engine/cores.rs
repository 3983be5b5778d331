//! An engine for each core, for stages that run often.
//!
//! An instance counts references to what its engine and its component share, and takes its slot under a lock of the engine's
//! pool: about thirty places in memory. If two cores make instances of one engine, each of these places moves from one core's
//! cache to the other's every time, and two cores do little more than one. So a stage that runs often gets a copy of its
//! code for each core, in an engine of that core with a small pool of its own. What does not find a place there runs in the
//! engine that all cores share.
//!
//! The slots there also keep more memory: what a stage has beyond that, the kernel gives page by page and takes back after the
//! run, which takes several times as long as to rewrite it.

use std::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Release},
};
use std::sync::{Arc, OnceLock};
use std::thread::available_parallelism;

use rustix::process::{Resource, getrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu};
use wasmtime::Engine;

use super::kept;

/// How many stages run in the engine of one core at the same time. A core computes for one of them; the others wait for a model,
/// or for their turn. With 128
/// memories or tables or more (five and eight for each place), wasmtime would divide them between threads, and the warm slots
/// with them.
pub const SLOTS: u32 = 12;

/// Maximum number of unused slots of the engine of one core that stay warm: those of two pipelines, or of one with branches.
pub const WARM_SLOTS: u32 = 8;

/// The slots of one engine that are ever used: the pool prefers one that was never used while fewer than [`WARM_SLOTS`] of the
/// others are free.
const USED_SLOTS: u64 = (SLOTS + WARM_SLOTS - 1) as u64;

/// Most engines. With more cores, several share one: each engine has copies of code, and memory in unused slots.
const MOST: usize = 16;

/// The engines of the cores.
pub struct CoreEngines {
    /// The index of a core's engine, by the number of the core.
    of_core: Vec<usize>,
    engines: Box<[OnceLock<Option<CoreEngine>>]>,
    open: Open,
    kept: usize,
}

/// Opens an engine whose slots keep so many bytes of each linear memory.
type Open = Box<dyn Fn(usize) -> wasmtime::Result<Engine> + Send + Sync>;

/// The engine of one core, and how many stages run in it.
struct CoreEngine {
    engine: Engine,
    in_use: Arc<Line>,
}

/// A counter that shares its line of the cache with nothing.
#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU32);

impl CoreEngines {
    /// No engine is opened before it is needed. `open` gets the bytes of each linear memory that a slot is to keep; `memory` is
    /// what the process may use, in bytes. There are no engines on a machine with one core, with more than 1,024 (for which the
    /// system call has no room), or where address space is scarce.
    pub fn new(memory: Option<u64>, open: impl Fn(usize) -> wasmtime::Result<Engine> + Send + Sync + 'static) -> Self {
        let allowed = sched_getaffinity(None).map(|allowed| cores(&allowed)).unwrap_or_default();
        let mut of_core = vec![0; allowed.last().map_or(0, |last| last + 1)];
        // In a container, fewer threads may compute at a time than there are cores.
        let count = allowed.len().min(available_parallelism().map_or(1, usize::from)).min(MOST);
        let count = if count > 1 && !is_address_space_scarce() { count } else { 0 };
        for (index, &core) in allowed.iter().enumerate().filter(|_| count > 0) {
            of_core[core] = index % count;
        }
        let engines = (0..count).map(|_| OnceLock::new()).collect();
        Self { of_core, engines, open: Box::new(open), kept: kept::of_core(memory, count as u64 * USED_SLOTS) }
    }

    /// None at all.
    pub fn none() -> Self {
        let open = |_| wasmtime::bail!("no engines of cores");
        Self { of_core: Vec::new(), engines: Box::default(), open: Box::new(open), kept: kept::COMMON }
    }

    /// How many there are at most.
    pub fn count(&self) -> usize {
        self.engines.len()
    }

    /// The bytes of each linear memory that a slot of these engines keeps.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// The index of the engine of the core on which this thread runs. The thread may be moved at any time, which only costs
    /// speed. The machine may get cores later: they use the first engine.
    pub fn this_core(&self) -> usize {
        self.of_core.get(sched_getcpu()).copied().unwrap_or_default()
    }

    /// An engine, which is opened if it is needed for the first time. `None` if the machine has no address space for it.
    pub fn open(&self, index: usize) -> Option<&Engine> {
        let open = || {
            let engine = (self.open)(self.kept);
            let engine = engine.inspect_err(|error| tracing::debug!("no engine for core {index}: {error:#}")).ok()?;
            Some(CoreEngine { engine, in_use: Arc::default() })
        };
        self.engines.get(index)?.get_or_init(open).as_ref().map(|core| &core.engine)
    }

    /// A place for one stage in an engine that is open, if it has one.
    pub fn place(&self, index: usize) -> Option<Place> {
        let core = self.engines.get(index)?.get()?.as_ref()?;
        let place = Place { in_use: Arc::clone(&core.in_use), core: index, cores: self.count() };
        // The new place counts itself when it is dropped, so it is counted in any case.
        (core.in_use.0.fetch_add(1, Acquire) < SLOTS).then_some(place)
    }

    /// The engines that are open.
    pub fn all_open(&self) -> impl Iterator<Item = &Engine> {
        self.engines.iter().filter_map(|core| core.get()?.as_ref()).map(|core| &core.engine)
    }
}

/// The right to have one instance in the engine of a core. Drop it after the store.
pub struct Place {
    in_use: Arc<Line>,
    core: usize,
    cores: usize,
}

impl Place {
    /// The index of the core's engine.
    pub fn core(&self) -> usize {
        self.core
    }

    /// How many such engines there are.
    pub fn cores(&self) -> usize {
        self.cores
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Whoever takes the place sees that the slot of the pool is free.
        self.in_use.0.fetch_sub(1, Release);
    }
}

/// True if the address space of the process is limited, or the system counts address space as if it were memory: each engine
/// reserves 300 GiB of it.
fn is_address_space_scarce() -> bool {
    const NEVER_OVERCOMMIT: &str = "2";
    getrlimit(Resource::As).current.is_some()
        || std::fs::read_to_string("/proc/sys/vm/overcommit_memory").is_ok_and(|mode| mode.trim() == NEVER_OVERCOMMIT)
}

fn cores(allowed: &CpuSet) -> Vec<usize> {
    (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_has_a_bounded_number_of_places() {
        let engines = CoreEngines::new(None, |_| Ok(Engine::default()));
        if engines.count() == 0 {
            return;
        }
        assert!(engines.place(0).is_none() && engines.all_open().count() == 0, "it is not open");
        assert!(engines.open(0).is_some() && engines.open(engines.count()).is_none());
        let mut places: Vec<_> = (0..SLOTS).map(|_| engines.place(0).expect("free")).collect();
        assert!((0..3).all(|_| engines.place(0).is_none()), "a refusal takes no place");
        places.pop();
        assert!(engines.place(0).is_some_and(|place| {
            places.push(place);
            engines.place(0).is_none()
        }));
        assert!(engines.this_core() < engines.count());
        assert_eq!(engines.all_open().count(), 1);
    }

    #[test]
    fn an_engine_that_cannot_be_opened_is_not_tried_again() {
        let tried = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&tried);
        let engines = CoreEngines::new(None, move |_| {
            count.fetch_add(1, Acquire);
            wasmtime::bail!("no address space")
        });
        assert!((0..3).all(|_| engines.open(0).is_none() && engines.place(0).is_none()));
        assert_eq!(tried.load(Acquire), u32::from(engines.count() > 0));
    }
}
