//! Which code allocated the survivors? Runs samples with every allocation traced, and counts bytes and blocks for each
//! call stack.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};

use wasmtime::Module;

use super::malloc_family::Family;
use super::malloc_tracer::{Event, PythonTracer, Stack, Tracer};
use super::progress::Progress;
use super::python::frames::TracedFunction;
use super::python::host_copies;
use super::python::interpreter::Interpreter;
use super::python::native::Natives;
use super::subject::{PluginUnderTest, Subject, SubjectError, outcome, survives};
use super::variation::Inputs;
use plimsoll_runtime::outcome::Outcome;

/// What one call stack allocated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// Bytes allocated.
    pub alloc_space: u64,
    /// Blocks allocated.
    pub alloc_objects: u64,
    /// Bytes allocated after the first round and not freed. The first round is left out, because memory that is
    /// allocated only once is not a leak; it counts for a class that allocated nothing later.
    pub inuse_space: u64,
    /// Blocks allocated after the first round and not freed.
    pub inuse_objects: u64,
}

/// The result of a traced run.
pub struct Allocations {
    /// By class and call stack. The caller of [`record`] defines the class numbers.
    pub stacks: HashMap<(usize, Stack), Totals>,
    /// The functions in the stacks of a plugin in Python, by number.
    pub(crate) python: Option<Vec<TracedFunction>>,
    /// Number of allocations whose address is not known. They count as allocated, but never as in use.
    pub unresolved: u64,
}

impl Allocations {
    /// The call stacks of a plugin in Python without the functions of its libraries; other call stacks as they are.
    pub(crate) fn without_libraries(&self) -> Cow<'_, HashMap<(usize, Stack), Totals>> {
        let Some(functions) = &self.python else { return Cow::Borrowed(&self.stacks) };
        let mut own: HashMap<(usize, Stack), Totals> = HashMap::new();
        for ((class, stack), totals) in &self.stacks {
            let is_python = |number: &u32| functions.get(*number as usize).is_some_and(|function| !function.is_native);
            let python: Stack = stack.iter().copied().filter(is_python).collect();
            own.entry((*class, python)).or_default().add(totals);
        }
        Cow::Owned(own)
    }
}

impl Totals {
    fn add(&mut self, other: &Self) {
        self.alloc_space += other.alloc_space;
        self.alloc_objects += other.alloc_objects;
        self.inuse_space += other.inuse_space;
        self.inuse_objects += other.inuse_objects;
    }
}

/// Why allocations cannot be traced.
#[derive(Debug, thiserror::Error)]
pub enum AllocationsError {
    /// No function has the name of an allocator function.
    #[error(
        "allocations cannot be traced: none of the plugin's functions has the name of a known allocator function; \
         build the plugin without stripping its names"
    )]
    NoAllocator,
    /// The functions have no names.
    #[error(
        "allocations cannot be traced: the plugin has no name section; build the plugin without stripping its names"
    )]
    NoNames,
    /// The instance does not start.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// The breakpoints cannot be set.
    #[error("{0:#}")]
    Breakpoints(wasmtime::Error),
}

/// Runs rounds over the inputs in a fresh instance and records each allocation. `class_of` returns the class of a
/// sample, given its index and outcome.
///
/// # Errors
/// If no allocator function is known by name, or the instance does not start.
pub async fn record(
    plugin: &PluginUnderTest,
    inputs: &Inputs<'_>,
    chosen: &[usize],
    rounds: usize,
    class_of: impl Fn(usize, Outcome) -> usize,
    progress: &Progress,
) -> Result<Allocations, AllocationsError> {
    let mut subject = plugin.subject().await?;
    let (family, module, python) = match subject.python.known() {
        Some(interpreter) => {
            let (family, module) = library_family(plugin, &mut subject).ok_or(AllocationsError::NoAllocator)?;
            (family, module, Some(python_tracer(interpreter, plugin, &mut subject)))
        }
        None => (Family::of(&plugin.module), subject.module.clone(), None),
    };
    if family.is_empty() {
        return Err(match plugin.module.has_names() {
            true => AllocationsError::NoAllocator,
            false => AllocationsError::NoNames,
        });
    }
    let places = python.as_ref().map(|python| Arc::clone(&python.places));
    let tracer = Tracer::new(family, python);
    tracer.attach(&mut subject, &module).map_err(AllocationsError::Breakpoints)?;
    let mut allocations = Allocations { stacks: HashMap::new(), python: None, unresolved: 0 };
    // By address: the round, the class and the call stack that allocated the block, and its bytes.
    let mut live: HashMap<u32, (usize, usize, Stack, u64)> = HashMap::new();
    let mut calls = 0;
    'rounds: for round in 0..rounds {
        for &sample in chosen {
            let result = subject.call(&inputs.variant(sample, calls)).await;
            calls += 1;
            let outcome = outcome(&result);
            let events = tracer.take();
            let class = class_of(sample, outcome);
            for event in events {
                match event {
                    Event::Allocated { stack, size, address } => {
                        let totals = allocations.stacks.entry((class, Arc::clone(&stack))).or_default();
                        totals.alloc_space += u64::from(size);
                        totals.alloc_objects += 1;
                        match address {
                            Some(address) => {
                                live.insert(address, (round, class, stack, u64::from(size)));
                            }
                            None => allocations.unresolved += 1,
                        }
                    }
                    Event::Freed { address } => {
                        live.remove(&address);
                    }
                }
            }
            progress.count();
            if !survives(outcome) {
                break 'rounds;
            }
        }
    }
    // Garbage in cycles is not in use.
    if subject.collect().await.is_ok_and(|collected| collected) {
        for event in tracer.take() {
            if let Event::Freed { address } = event {
                live.remove(&address);
            }
        }
    }
    allocations.python = places.map(|places| {
        let mut places = places.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut places.functions)
    });
    // A container that doubles may not have done so in the last rounds: then its block is one of the first round.
    let later: HashSet<usize> = live.values().filter(|(round, ..)| *round > 0).map(|(_, class, ..)| *class).collect();
    for (round, class, stack, size) in live.into_values() {
        if round == 0 && later.contains(&class) {
            continue;
        }
        let totals = allocations.stacks.entry((class, stack)).or_default();
        totals.inuse_space += size;
        totals.inuse_objects += 1;
    }
    Ok(allocations)
}

/// The malloc family of a plugin whose allocator is in a separate library, and that library.
fn library_family(plugin: &PluginUnderTest, subject: &mut Subject<'_>) -> Option<(Family, Module)> {
    let compiled = subject.libraries();
    let families = plugin.libraries.iter().zip(compiled).filter_map(|(library, module)| {
        let family = Family::of(library);
        (!family.is_empty()).then_some((family, module?))
    });
    // libc has more of these functions than other libraries, which may define a few.
    families.max_by_key(|(family, _)| family.len())
}

/// What is needed to trace the allocations of a plugin in Python.
fn python_tracer(interpreter: Interpreter, plugin: &PluginUnderTest, subject: &mut Subject<'_>) -> PythonTracer {
    let compiled = subject.libraries();
    let own = std::iter::once((&plugin.module, Some(subject.module.clone())));
    let natives = Natives::of(own.chain(plugin.libraries.iter().zip(compiled.iter().cloned())));
    let mut libraries = plugin.libraries.iter().zip(compiled);
    let runtime = libraries.find(|(library, _)| host_copies::is_runtime(library));
    let runtime = runtime.and_then(|(library, module)| {
        let kept = library.functions.iter().enumerate().filter(|(_, function)| host_copies::keeps(function));
        Some((module?, kept.map(|(index, _)| index as u32).collect()))
    });
    PythonTracer { interpreter, places: Arc::default(), runtime, natives: Arc::new(natives) }
}
