//! Copies of the code of stages that run often, for the engines of the cores.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use rayon::ThreadPool;
use rustix::process::{Resource, getrlimit};
use wasmtime::component::Component;

use crate::component::compiler::Compiler;
use crate::component::trusted::SharedCopy;
use crate::engine::Runtime;
use crate::engine::cores::CoreEngines;
use crate::kind::StageKind;
use crate::stage::code::{Code, CopiesOfCode};

/// Most codes that have copies at the same time. Each copy is an open file and three mappings, and takes a few hundred KiB.
const MOST: usize = 64;

/// The copies may have this part of the descriptors that the process may open.
const PART_OF_DESCRIPTORS: u64 = 8;

/// Compiled code of more bytes gets no copies. Instances of such components, for example of interpreters, take so long that
/// the cores rarely meet.
const MOST_BYTES: usize = 32 << 20;

/// Loads compiled code into the engines of the cores, and links it.
pub(super) struct Copier {
    cores: Arc<CoreEngines>,
    linkers: Box<[OnceLock<Option<Compiler>>]>,
    threads: Arc<ThreadPool>,
    /// The number of codes that have copies.
    codes: Arc<AtomicUsize>,
}

/// Counts one code that has copies.
struct Counted(Arc<AtomicUsize>);

impl Copier {
    /// The threads make the copies.
    pub(super) fn new(runtime: &Runtime, threads: &Arc<ThreadPool>) -> Arc<Self> {
        let cores = Arc::clone(&runtime.cores);
        let linkers = (0..cores.count()).map(|_| OnceLock::new()).collect();
        Arc::new(Self { cores, linkers, threads: Arc::clone(threads), codes: Arc::default() })
    }

    /// The code of a component, which gets copies when it runs often.
    pub(super) fn with_copies(self: &Arc<Self>, code: Code, component: &Component, kind: StageKind) -> Code {
        let (this, component, note) = (Arc::clone(self), component.clone(), code.init_in_every_instance.clone());
        let counted = OnceLock::new();
        code.with_copies(
            &self.cores,
            Box::new(move |copies| {
                // It lives as long as the code.
                let Some(count) = this.count() else { return };
                let _ = counted.set(count);
                let (this, component, note) = (Arc::clone(&this), component.clone(), note.clone());
                // If the stage is gone meanwhile, nothing is to be done.
                let copies = Arc::downgrade(copies);
                Arc::clone(&this.threads).spawn(move || {
                    let copy = || copies.upgrade().map(|copies| this.copy(&component, kind, note.as_deref(), &copies));
                    if catch_unwind(AssertUnwindSafe(copy)).is_err() {
                        tracing::warn!("the host panicked while it copied code for each core");
                    }
                });
            }),
        )
    }

    /// The right of a code to have copies.
    fn count(&self) -> Option<Counted> {
        let counted = Counted(Arc::clone(&self.codes));
        let before = self.codes.fetch_add(1, Relaxed);
        let descriptors =
            getrlimit(Resource::Nofile).current.map_or(usize::MAX, |most| (most / PART_OF_DESCRIPTORS) as usize);
        (before < MOST && (before + 1).saturating_mul(self.cores.count()) <= descriptors).then_some(counted)
    }

    /// Makes the copies. A core for which that is not possible goes on with the common engine.
    fn copy(&self, component: &Component, kind: StageKind, note: Option<&str>, copies: &CopiesOfCode) {
        let image = component.image_range();
        if image.end as usize - image.start as usize > MOST_BYTES {
            return;
        }
        let shared = match SharedCopy::new(component) {
            Ok(shared) => shared,
            Err(error) => return tracing::warn!("no copies of code for the cores: {error:#}"),
        };
        for core in 0..self.cores.count() {
            match self.copy_for(core, &shared, kind, note) {
                Ok(copy) => copies.set(core, copy),
                Err(error) => tracing::warn!(core, "no copy of code for a core: {error}"),
            }
        }
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
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::compiler::threads;
    use crate::scheduling::Scheduling;

    #[test]
    fn few_codes_have_copies_at_the_same_time() {
        let runtime = Runtime::new(4, Scheduling::Fair).expect("an engine");
        let copier = Copier::new(&runtime, &threads().expect("threads"));
        let mut counted: Vec<_> = std::iter::from_fn(|| copier.count()).take(2 * MOST).collect();
        assert!((1..=MOST).contains(&counted.len()), "{}", counted.len());
        assert!(copier.count().is_none(), "a refusal counts nothing");
        counted.pop();
        assert!(copier.count().is_some());
    }
}
