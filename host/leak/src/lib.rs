//! The leak laboratory: fresh instances hide a plugin's leaks, and here they are made visible on purpose. A corpus runs
//! through one long-lived instance; what survives is counted, named and traced to who holds and who allocated it.
//!
//! - [`study`]: the experiments in their order; [`finding`]: what they say. [`report`]: the files and the summary of it.
//! - [`corpus`]: the inputs. [`subject`]: the instance. [`run`]: rounds over the inputs, with a look after each call.
//! - [`heap`]: dlmalloc's chunks in linear memory. [`verdict`]: does it leak?
//! - [`census`]: what survives. [`retention`]: who holds it. [`allocations`]: who allocated it.
//! - [`module`], [`debug_info`]: what the core module and its DWARF say.

pub mod allocations;
pub mod census;
pub mod corpus;
pub mod debug_info;
pub mod finding;
pub mod heap;
pub mod module;
pub mod report;
pub mod retention;
pub mod run;
pub mod study;
pub mod subject;
pub mod verdict;
