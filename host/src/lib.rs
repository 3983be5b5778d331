//! Plimsoll: a WebAssembly-plugin inference host. Every request gets a fresh instance of each stage with a memory cap, and
//! the host reports how high each stage's linear memory rose.
//!
//! # Layout, from the top down; each layer uses only the layers below it
//! - [`cli`]: the command line; `serve` loads the configuration and starts the server.
//! - [`serve`]: the routes of HTTP and gRPC, admission, errors. Next to it, the leak laboratory: the crate `plimsoll-leak`.
//! - [`deploy`]: how versions of plugins and configurations come and go; everything wrong is rejected here.
//! - [`config`]: `plimsoll.toml` as the user writes it.
//! - [`records`]: the memory and time that requests needed, and the reports of it.
//! - The crate `plimsoll-runtime`: one run of one plugin, models, and the pipeline.
//! - [`base`]: parts that use nothing else.

pub mod base;
pub mod cli;
pub mod config;
pub mod deploy;
pub mod records;
pub mod serve;
