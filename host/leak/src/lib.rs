//! The leak laboratory: finds the leaks of a plugin that stay hidden because every request gets a fresh instance. It runs a
//! corpus through one long-lived instance. Then it counts the blocks that survive, names them,
//! and finds what holds them and which code allocated them.
//!
//! - [`study`]: the experiments in their order; [`finding`]: their results. [`report`]: the summary and the files.
//!   [`conclusion`]: the exit code for a CI; [`known`]: the leaks that do not fail it. [`progress`]: how far a study
//!   is.
//! - [`corpus`]: the inputs. [`variation`]: inputs with other bytes for each call; `contents`: with other pixels, numbers or
//!   letters. [`subject`]: the instance. [`run`]: rounds over the inputs, in one instance, [`record`]ed; `class_run`:
//!   those of one class. [`rounds`]: how many, and how rare a leak they show.
//! - [`heap`]: dlmalloc's heap in linear memory, `chunks`: one chunk. `heap_chains`: the chain of chunks that begins at each
//!   chunk. `snapshot`: where the heap begins in a snapshot. `heap_watch`: reads the heap between calls.
//! - [`judge`]: does it leak? By the ages of blocks ([`population`]), by the doublings of [`containers`], by sums
//!   ([`verdict`]) and what doubles in them (`octaves`); `suspicion`: what the rounds cannot show.
//! - [`census`]: what survives. [`retention`]: what holds it. [`allocations`]: which code allocated it, found by
//!   `malloc_tracer` at the functions of the `malloc_family`.
//! - [`module`], [`debug_info`]: the contents of the core module and its DWARF. [`symbols`]: the names in them,
//!   `cpp_grammar`: those of C++. `python`: the same for plugins in Python, from the interpreter's objects.
//!   `javascript`: the collections of SpiderMonkey. `language`: whether the guest's language has a collector.

#![warn(clippy::expect_used, clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by a panic"))]

pub mod allocations;
pub mod census;
mod chunks;
mod class_run;
pub mod conclusion;
pub mod containers;
mod contents;
pub mod corpus;
mod cpp_grammar;
pub mod debug_info;
pub mod finding;
pub mod heap;
mod heap_chains;
mod heap_watch;
mod javascript;
pub mod judge;
pub mod known;
mod language;
mod malloc_family;
mod malloc_tracer;
pub mod module;
mod octaves;
pub mod population;
pub mod progress;
mod python;
pub mod record;
pub mod report;
pub mod retention;
pub mod rounds;
pub mod run;
mod snapshot;
pub mod study;
pub mod subject;
mod suspicion;
pub mod symbols;
pub mod variation;
pub mod verdict;

/// What the fuzzing target of the Python heap needs.
#[cfg(fuzzing)]
pub mod fuzzing {
    /// A memory with an interpreter and a few objects.
    pub fn python_example() -> Vec<u8> {
        crate::python::synthetic::fuzz::example()
    }

    /// Reads all Python objects of a memory, and what holds them. `None` if the memory has none that can be read; otherwise
    /// the number of objects that have a chain.
    pub fn read_python(memory: &[u8]) -> Option<usize> {
        crate::python::synthetic::fuzz::read_all(memory)
    }
}
