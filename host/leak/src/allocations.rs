//! Which code allocated the survivors? Runs samples with every allocation traced, and counts bytes and blocks for each
//! call stack.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::malloc_tracer::{Event, Family, Stack, Tracer};
use super::progress::Progress;
use super::subject::{PluginUnderTest, SubjectError, outcome, survives};
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
    /// Number of allocations whose address is not known. They count as allocated, but never as in use.
    pub unresolved: u64,
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
    let family = Family::of(&plugin.module);
    if family.is_empty() {
        return Err(match plugin.module.has_names() {
            true => AllocationsError::NoAllocator,
            false => AllocationsError::NoNames,
        });
    }
    let mut subject = plugin.subject().await?;
    let tracer = Tracer::new(family);
    tracer.attach(&mut subject).map_err(AllocationsError::Breakpoints)?;
    let mut allocations = Allocations { stacks: HashMap::new(), unresolved: 0 };
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
