//! Copies of the code of stages that run often, for the engines of the cores.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError};

use rayon::ThreadPool;
use rustix::process::{Resource, getrlimit};
use wasmtime::component::Component;

use crate::cap::PAGE;
use crate::component::compiler::Compiler;
use crate::component::trusted::SharedCopy;
use crate::engine::Runtime;
use crate::engine::cores::CoreEngines;
use crate::engine::kept;
use crate::kind::StageKind;
use crate::stage::code::{Code, CopiesOfCode};

/// Most codes that have copies at the same time, with those of previous versions that are kept. Each copy is an open file and
/// three mappings, and takes a few hundred KiB besides the machine code.
const MOST: usize = 64;

/// The copies may have this part of the descriptors that the process may open.
const PART_OF_DESCRIPTORS: u64 = 8;

/// Compiled code of more bytes gets no copies. Instances of such components, for example of interpreters, take so long that
/// the cores rarely meet.
const MOST_BYTES: usize = 32 << 20;

/// Components with more data in their memories, without pages of zeros, get no copies if the slots of the engines of the cores keep
/// more than those of the common engine: they would copy all of it for each instance, whatever the run touches of it
/// (`engine/kept.rs`). The same holds for more memory at the beginning than this and than a slot keeps.
const MOST_DATA: usize = 2 << 20;

/// All codes that have copies may have this many bytes together. The copies of a code share one file in memory.
const MOST_BYTES_IN_ALL: usize = 256 << 20;

/// Loads compiled code into the engines of the cores, and links it.
pub(super) struct Copier {
    cores: Arc<CoreEngines>,
    linkers: Box<[OnceLock<Option<Compiler>>]>,
    threads: Arc<ThreadPool>,
    /// What has copies.
    copied: Arc<Mutex<Copied>>,
    /// Tells that there is no room for further copies, once.
    full: Once,
}

/// The codes that have copies.
#[derive(Default)]
struct Copied {
    codes: usize,
    bytes: usize,
}

impl Copied {
    /// Counts a code of so many bytes, if there is room for it.
    fn add(&mut self, bytes: usize, cores: usize, descriptors: usize) -> bool {
        let has_room = self.codes < MOST
            && self.bytes.saturating_add(bytes) <= MOST_BYTES_IN_ALL
            && (self.codes + 1).saturating_mul(cores) <= descriptors;
        if has_room {
            self.codes += 1;
            self.bytes += bytes;
        }
        has_room
    }
}

/// Counts one code of so many bytes until it is dropped.
struct Counted(Arc<Mutex<Copied>>, usize);

impl Copier {
    /// The threads make the copies.
    pub(super) fn new(runtime: &Runtime, threads: &Arc<ThreadPool>) -> Arc<Self> {
        let cores = Arc::clone(&runtime.cores);
        let linkers = (0..cores.count()).map(|_| OnceLock::new()).collect();
        Arc::new(Self { cores, linkers, threads: Arc::clone(threads), copied: Arc::default(), full: Once::new() })
    }

    /// The code of a component, which gets copies when it runs often.
    pub(super) fn with_copies(self: &Arc<Self>, code: Code, component: &Component, kind: StageKind) -> Code {
        let (this, component, note) = (Arc::clone(self), component.clone(), code.init_in_every_instance.clone());
        let image = component.image_range();
        let bytes = image.end as usize - image.start as usize;
        // In pages.
        let initial = component.resources_required().and_then(|resources| resources.max_initial_memory_size);
        let most = self.cores.kept().max(MOST_DATA) as u64;
        let has_more = self.keeps_more() && initial.unwrap_or_default().saturating_mul(PAGE) > most;
        // It lives as long as the code.
        let counted = Arc::new(OnceLock::new());
        let start = move |copies: &Arc<CopiesOfCode>| {
            if bytes > MOST_BYTES || has_more {
                copies.refuse(if has_more {
                    "its memory begins with more than a slot keeps"
                } else {
                    "it is too large"
                });
                return true;
            }
            let Some(count) = this.count(bytes) else { return false };
            let (this, component, note) = (Arc::clone(&this), component.clone(), note.clone());
            // If the stage is gone meanwhile, nothing is to be done.
            let (copies, counted) = (Arc::downgrade(copies), Arc::downgrade(&counted));
            Arc::clone(&this.threads).spawn(move || {
                let copy = || {
                    let (copies, counted) = (copies.upgrade()?, counted.upgrade()?);
                    this.copy(&component, kind, note.as_deref(), &copies).then(|| counted.set(count))
                };
                if catch_unwind(AssertUnwindSafe(copy)).is_err() {
                    tracing::warn!("the host panicked while it copied code for each core");
                }
            });
            true
        };
        code.with_copies(&self.cores, Box::new(start))
    }

    /// The right of a code of so many bytes to have copies.
    fn count(&self, bytes: usize) -> Option<Counted> {
        let limit = getrlimit(Resource::Nofile).current;
        let descriptors = limit.map_or(usize::MAX, |most| (most / PART_OF_DESCRIPTORS) as usize);
        let has_room =
            self.copied.lock().unwrap_or_else(PoisonError::into_inner).add(bytes, self.cores.count(), descriptors);
        if !has_room {
            self.full.call_once(|| tracing::info!("no further code is copied for each core: there is enough of it"));
        }
        has_room.then(|| Counted(Arc::clone(&self.copied), bytes))
    }

    /// Makes the copies. A core for which that is not possible goes on with the common engine. Returns true if there is one.
    fn copy(&self, component: &Component, kind: StageKind, note: Option<&str>, copies: &CopiesOfCode) -> bool {
        let shared = match SharedCopy::new(component) {
            Ok(shared) => shared,
            Err(error) => {
                tracing::warn!("no copies of code for the cores: {error:#}");
                return false;
            }
        };
        if self.keeps_more() && shared.data > MOST_DATA {
            copies.refuse("it has too much data for its memories");
            return false;
        }
        let mut has_copy = false;
        for core in 0..self.cores.count() {
            match self.copy_for(core, &shared, kind, note) {
                Ok(copy) => {
                    copies.set(core, copy);
                    has_copy = true;
                }
                Err(error) => tracing::warn!(core, "no copy of code for a core: {error}"),
            }
        }
        has_copy
    }

    /// True if a slot of the engine of a core keeps more than one of the common engine.
    fn keeps_more(&self) -> bool {
        self.cores.kept() > kept::COMMON
    }

    fn copy_for(&self, core: usize, shared: &SharedCopy, kind: StageKind, note: Option<&str>) -> Result<Code, String> {
        let text = |error: &dyn Display| format!("{error:#}");
        let engine = self.cores.open(core).ok_or("its engine could not be opened")?;
        let open = || Compiler::new(engine, &self.threads).ok();
        let linker = self.linkers.get(core).and_then(|linker| linker.get_or_init(open).as_ref());
        let linker = linker.ok_or("nothing could be linked")?;
        let component = shared.load(engine).map_err(|error| text(&error))?;
        let linked = linker.link(&component, kind).map_err(|error| text(&error))?;
        Code::new(linked, kind, note.map(str::to_owned)).map_err(|error| text(&error))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut copied = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        copied.codes -= 1;
        copied.bytes -= self.1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::compiler::threads;
    use crate::scheduling::Scheduling;

    #[test]
    fn the_codes_that_have_copies_are_bounded_by_number_bytes_and_descriptors() {
        let added = |bytes, cores, descriptors| {
            let mut copied = Copied::default();
            (0..).take_while(|_| copied.add(bytes, cores, descriptors)).count()
        };
        assert_eq!(added(1, 2, usize::MAX), MOST);
        assert_eq!(added(MOST_BYTES, 2, usize::MAX), MOST_BYTES_IN_ALL / MOST_BYTES);
        assert_eq!(added(1, 16, 128), 8);
        assert_eq!(added(1, 16, 15), 0);
    }

    #[test]
    fn a_code_that_is_dropped_makes_room() {
        let runtime = Runtime::new(4, Scheduling::Fair, None).expect("an engine");
        let copier = Copier::new(&runtime, &threads().expect("threads"));
        let mut counted: Vec<_> = std::iter::from_fn(|| copier.count(1)).take(2 * MOST).collect();
        assert!((1..=MOST).contains(&counted.len()), "{}", counted.len());
        assert!(copier.count(1).is_none(), "a refusal counts nothing");
        counted.pop();
        assert!(copier.count(1).is_some());
    }
}
