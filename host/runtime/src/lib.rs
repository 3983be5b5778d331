//! Runs WebAssembly inference stages in process: a fresh instance of each stage for every request, with a memory cap, a
//! deadline, and a report of its high-water mark. The server `plimsoll` is built on it; it has no HTTP, no
//! configuration file and no global state, so another Rust service can embed it.
//!
//! # Layout, from the ground up; each layer uses only those above it in this list
//! - Base: [`identity`], [`lack`], [`panics`], [`text`].
//! - Contract: [`kind`], [`outcome`], [`tensor`]. [`comparison`]: how much two sets of tensors differ.
//! - [`scheduling`]: which thread runs what, and when. [`cap`]: the memory cap and the meter of the high-water mark.
//! - [`nn`]: models and backends. [`engine`]: wasmtime, its pool and its epoch.
//! - [`stage`]: one run of one plugin.
//! - [`component`]: from a component's bytes to a stage. [`pipeline`]: preprocess → infer → postprocess.
//!
//! # Example: one stage in process
//! ```no_run
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use plimsoll_runtime::component::{Artifact, Preparer};
//! use plimsoll_runtime::engine::Runtime;
//! use plimsoll_runtime::kind::StageKind;
//! use plimsoll_runtime::scheduling::Scheduling;
//! use plimsoll_runtime::stage::{Limits, PreprocessStage, Request, RunLog, StageEnvironment};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // An engine with room for 8 live instances, and a compiler for it.
//! let runtime = Runtime::new(8, Scheduling::Fair, None)?;
//! let preparer = Preparer::new(&runtime, None)?;
//!
//! // Load a component and make a stage of it: compile, check its world, run `init`, take a snapshot.
//! let artifact = Artifact::new("brightness", None, std::fs::read("brightness.wasm")?.into())?;
//! let limits = Limits {
//!     max_memory: 16 << 20,
//!     deadline: Duration::from_secs(1),
//!     init_deadline: Duration::from_secs(30),
//!     max_output: 1 << 20,
//! };
//! let core = preparer.stage(&artifact, StageKind::Preprocess, limits, StageEnvironment::default()).await?;
//! let stage = PreprocessStage::new(Arc::new(core))?;
//!
//! // Run it: every call has a fresh instance.
//! let request = Request { id: "1".into(), content_type: None, parameters: Vec::new() };
//! let mut log = RunLog::new(Duration::from_secs(2));
//! let (tensors, _context) = stage.run(&mut log, &request, b"a body").await?;
//! println!("{} tensors", tensors.len());
//!
//! // Read its marks.
//! for report in log.reports() {
//!     println!("{}: {} bytes of linear memory, {:?}", report.stage, report.usage.high_water, report.duration);
//! }
//! # Ok(())
//! # }
//! ```

#![warn(clippy::expect_used, clippy::print_stderr, clippy::print_stdout, clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by a panic"))]

pub mod cap;
pub mod comparison;
pub mod component;
pub mod engine;
pub mod identity;
pub mod kind;
pub mod lack;
pub mod nn;
pub mod outcome;
pub mod panics;
pub mod pipeline;
pub mod scheduling;
pub mod stage;
pub mod tensor;
pub mod text;
