//! The leak laboratory: makes the leaks of a plugin visible that fresh instances hide. It runs a corpus through one
//! long-lived instance. Then it counts the blocks that survive, names them, and finds what holds them and which code
//! allocated them.
//!
//! - [`study`]: the experiments in their order; [`finding`]: their results. [`report`]: the summary and the files.
//! - [`corpus`]: the inputs. [`subject`]: the instance. [`run`]: rounds over the inputs, and the heap after each call.
//! - [`heap`]: dlmalloc's chunks in linear memory. [`verdict`]: does it leak?
//! - [`census`]: what survives. [`retention`]: what holds it. [`allocations`]: which code allocated it, found by
//!   `malloc_tracer`.
//! - [`module`], [`debug_info`]: the contents of the core module and its DWARF.

#![warn(clippy::expect_used, clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by a panic"))]

pub mod allocations;
pub mod census;
pub mod corpus;
pub mod debug_info;
pub mod finding;
pub mod heap;
mod malloc_tracer;
pub mod module;
pub mod report;
pub mod retention;
pub mod run;
pub mod study;
pub mod subject;
pub mod verdict;
