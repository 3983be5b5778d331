//! A stage: one plugin with its configuration and limits, run in a store of its own for every request.
//!
//! - [`bindings`]: the contract, generated.
//! - [`cap`]: the memory cap and the meter of the high-water mark.
//! - [`state`]: what a store owns; the host functions that a guest may call.
//! - [`output`]: the guest's stdout and stderr as log events.
//! - [`outcome`]: how a stage can end, and the error that carries it.
//! - `turns`: how long runs share the cores.
//! - [`run`]: instantiate, call, drop. [`apart`]: the same outside of requests, for tests and benchmarks.

pub mod apart;
pub mod bindings;
pub mod cap;
mod foresight;
pub mod outcome;
pub mod output;
pub mod run;
pub mod state;
mod turns;

pub use outcome::{Outcome, StageError};
pub use run::{Limits, Stage};
