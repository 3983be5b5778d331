//! Plimsoll: a WebAssembly-plugin inference host. Every request gets a fresh instance of each stage with a memory cap,
//! and the host reports the high-water mark of each stage's linear memory.
//!
//! # Layout, from the top down; each layer uses only the layers below it
//! - [`cli`]: the command line; `serve` loads the configuration and starts the server.
//! - [`serve`]: the routes of HTTP and gRPC, admission, errors. Next to it, the leak laboratory: the crate
//!   `plimsoll-leak`.
//! - [`deploy`]: changes versions of plugins and configurations, and rejects invalid ones.
//! - [`config`]: the user's configuration, `plimsoll.toml`.
//! - [`records`]: the memory and time that requests used, and the reports about it.
//! - The crate `plimsoll-runtime`: one run of one plugin, models, and the pipeline.
//! - [`base`]: parts that use no other layer.

#![warn(clippy::expect_used, clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by a panic"))]

// A server never calls `println!`: it blocks if the reader is slow, and panics if there is none. `base::telemetry`
// writes the log.
#[warn(clippy::print_stderr, clippy::print_stdout)]
pub mod base;
pub mod cli;
#[warn(clippy::print_stderr, clippy::print_stdout)]
pub mod config;
#[warn(clippy::print_stderr, clippy::print_stdout)]
pub mod deploy;
#[warn(clippy::print_stderr, clippy::print_stdout)]
pub mod records;
#[warn(clippy::print_stderr, clippy::print_stdout)]
pub mod serve;
