//! The code of a stage: the compiled and linked component, and its export. The code of a stage can be replaced by that of
//! another compiler; a run keeps the code that it began with.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use wasmtime::component::InstancePre;

use super::call::StageExport;
use super::store::StoreState;
use crate::engine::cores::{CoreEngines, Place};
use crate::engine::kept;
use crate::kind::StageKind;

/// After this many runs within [`BUSY_MILLISECONDS`], a stage gets a copy of its code for each core. With fewer, the cores
/// rarely meet.
const BUSY_RUNS: u32 = 256;
const BUSY_MILLISECONDS: u64 = 1_000;

/// So many bytes of memory, if a run touches them and the kernel gives them page by page, take about as long as what the cores
/// wait for each other in one run, so they count as a run. Which bytes a run touches is not known; to rewrite what it does not
/// touch costs a twentieth. A run counts as 77 at most, so that one alone makes no stage busy.
const BYTES_OF_A_RUN: u64 = 64 << 10;

/// The compiled and linked component of a stage.
pub struct Code {
    /// What instances are made of.
    pub instance_pre: InstancePre<StoreState>,
    /// The export of the stage's kind.
    pub export: StageExport,
    /// Why `init` must run in every instance, if no snapshot of it is possible.
    pub init_in_every_instance: Option<String>,
    copies: Option<Copies>,
}

/// The code of a stage, which can be replaced while runs use it.
pub type SharedCode = Arc<ArcSwap<Code>>;

/// Starts to make the copies of a code on another thread. Returns false if they may be made later.
pub type StartCopies = Box<dyn Fn(&Arc<CopiesOfCode>) -> bool + Send + Sync>;

/// The copies of a code by the core, as far as they are made.
pub struct CopiesOfCode {
    of_core: Box<[OnceLock<Arc<Code>>]>,
    refusal: OnceLock<&'static str>,
}

/// The copies of a code, and when they are made.
struct Copies {
    cores: Arc<CoreEngines>,
    made: Arc<CopiesOfCode>,
    start: StartCopies,
    begin: Instant,
    /// When the runs are counted from, in milliseconds since `begin`.
    counted_from: AtomicU64,
    /// How many runs there were since then.
    runs: AtomicU32,
}

impl Code {
    /// The code of a component that is linked already.
    ///
    /// # Errors
    /// If the component does not export the interface of this kind.
    pub fn new(
        instance_pre: InstancePre<StoreState>,
        kind: StageKind,
        init_in_every_instance: Option<String>,
    ) -> wasmtime::Result<Self> {
        Ok(Self { export: StageExport::new(&instance_pre, kind)?, instance_pre, init_in_every_instance, copies: None })
    }

    /// The same, which gets a copy for each core when it runs often. `start` is called until it returns true.
    #[must_use]
    pub fn with_copies(self, cores: &Arc<CoreEngines>, start: StartCopies) -> Self {
        if cores.count() == 0 {
            return self;
        }
        let copies = Copies {
            cores: Arc::clone(cores),
            made: Arc::new(CopiesOfCode {
                of_core: (0..cores.count()).map(|_| OnceLock::new()).collect(),
                refusal: OnceLock::new(),
            }),
            start,
            begin: Instant::now(),
            counted_from: AtomicU64::new(0),
            runs: AtomicU32::new(0),
        };
        Self { copies: Some(copies), ..self }
    }

    /// The copy for the core on which this thread runs, and a place for one instance of it. `None` if there is no copy yet, or
    /// no place. While there is no copy, each call counts as a run.
    pub fn of_this_core(&self) -> Option<(Arc<Self>, Place)> {
        let copies = self.copies.as_ref()?;
        let core = copies.cores.this_core();
        let Some(copy) = copies.made.of_core.get(core)?.get() else {
            copies.count(1);
            return None;
        };
        Some((Arc::clone(copy), copies.cores.place(core)?))
    }

    /// Counts the memory of a run of this code, in bytes: what a slot of the engine of a core would have kept of it, and a slot of
    /// the common engine does not.
    pub fn count_memory(&self, bytes: u64) {
        let Some(copies) = &self.copies else { return };
        let would_keep = bytes.min(copies.cores.kept() as u64).saturating_sub(kept::COMMON as u64);
        copies.count((would_keep / BYTES_OF_A_RUN) as u32);
    }

    /// Makes the copies, however often the code has run. Returns how many there are already.
    pub fn copy_now(&self) -> usize {
        let Some(copies) = &self.copies else { return 0 };
        if copies.runs.swap(BUSY_RUNS + 1, Relaxed) <= BUSY_RUNS {
            copies.start();
        }
        self.copies()
    }

    /// How many copies there are.
    pub fn copies(&self) -> usize {
        self.copies.iter().flat_map(|copies| &copies.made.of_core).filter(|copy| copy.get().is_some()).count()
    }

    /// Why the code never gets copies, if that was found when they were to be made.
    pub fn no_copies(&self) -> Option<&'static str> {
        self.copies.as_ref()?.made.refusal.get().copied()
    }
}

impl Copies {
    /// Counts runs for whose core there was no copy, and starts to make the copies when there were enough.
    fn count(&self, runs: u32) {
        // More than that means that the copies were started.
        if runs == 0 || self.runs.load(Relaxed) > BUSY_RUNS {
            return;
        }
        let now = self.begin.elapsed().as_millis() as u64;
        let before = self.runs.fetch_add(runs, Relaxed);
        if before == 0 {
            self.counted_from.store(now, Relaxed);
        }
        // One of several threads goes beyond it.
        if before <= BUSY_RUNS && before + runs > BUSY_RUNS {
            match now.saturating_sub(self.counted_from.load(Relaxed)) > BUSY_MILLISECONDS {
                true => self.runs.store(0, Relaxed),
                false => self.start(),
            }
        }
    }

    fn start(&self) {
        if !(self.start)(&self.made) {
            self.runs.store(0, Relaxed);
        }
    }
}

impl CopiesOfCode {
    /// Sets the copy for a core. Another one that is there already stays.
    pub fn set(&self, core: usize, copy: Code) {
        if let Some(slot) = self.of_core.get(core) {
            let _ = slot.set(Arc::new(copy));
        }
    }

    /// There will be no copies, for this reason.
    pub fn refuse(&self, why: &'static str) {
        let _ = self.refusal.set(why);
    }
}
