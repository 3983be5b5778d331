//! CPython in a component, read from outside: what its objects are and what holds them.
//!
//! - `offsets`: the interpreter's table of offsets, `later`: that of versions after 3.14. `interpreter`: the interpreter that
//!   it describes. `type_layout`: what types look like.
//! - `types`, `objects`, `references`: the types, the objects, and what each refers to. `text`: texts in memory.
//! - `graph`: the references from the modules. `owners`: the objects to which blocks without an object belong. `chain`: the names of a chain. `census`: objects by type.
//! - `collector`: runs the collector of the guest. `frames`: the functions that run, `native`: those of the libraries.
//! - `host_copies`: what componentize-py's runtime keeps, which is not the plugin's leak.
//! - `synthetic`: a small interpreter for tests and fuzzing.

mod census;
mod chain;
pub(crate) mod collector;
pub(crate) mod frames;
pub(crate) mod graph;
pub(crate) mod host_copies;
pub(crate) mod interpreter;
mod later;
pub(crate) mod native;
pub(crate) mod objects;
mod offsets;
mod owners;
mod references;
#[cfg(any(test, fuzzing))]
pub(crate) mod synthetic;
mod text;
mod type_layout;
mod types;

pub(crate) use census::{Types, groups, types};
