//! Plimsoll: a WebAssembly-plugin inference host. Every request gets a fresh instance of each stage with a memory
//! cap, and the host reports how high each stage's linear memory rose.
//!
//! # Layout, in the order in which a request meets it
//! - [`cli`]: the command line; `serve` loads the configuration and starts the server.
//! - [`config`]: `plimsoll.toml` as the user writes it.
//! - [`app`]: what is served now, and who may change it.
//! - [`deploy`]: how versions of plugins come and go; whatever is wrong is refused here. [`defaults`]: limits that
//!   nobody set.
//! - [`http`]: routes, admission, replies and problems.
//! - [`grpc`]: the same over gRPC; [`oip`]: what both have in common of the Open Inference Protocol.
//! - [`pipeline`]: preprocess → infer → postprocess.
//! - [`stage`]: one run of one plugin: store, cap, deadline, outcome.
//! - [`nn`]: `wasi:nn`: tensors, models, backends.
//! - [`plugin`]: from a component's bytes to a stage: compile, check, snapshot.
//! - [`engine`]: wasmtime, its pool and its epoch.
//! - [`trace`], [`memory`], [`metrics`]: what a request needed, and the reports of it.
//! - [`telemetry`]: the log. `numbers`: how numbers are written. `allocator`: what was freed goes back to the kernel.
//!
//! Beside the way of a request: [`leak`], the laboratory that names leaks.

mod allocator;
pub mod app;
pub mod cli;
pub mod config;
pub mod defaults;
pub mod deploy;
pub mod engine;
pub mod grpc;
pub mod http;
pub mod leak;
pub mod memory;
pub mod metrics;
pub mod nn;
mod numbers;
pub mod oip;
pub mod pipeline;
pub mod plugin;
pub mod stage;
pub mod telemetry;
pub mod trace;
