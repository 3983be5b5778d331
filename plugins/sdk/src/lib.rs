//! SDK for Plimsoll plugins in Rust.
//!
//! A plugin is a `cdylib` for `wasm32-wasip2` with one implementation of [`Preprocess`], [`Infer`], [`Transform`] or
//! [`Postprocess`] and one line of [`export_preprocess!`], [`export_infer!`], [`export_transform!`] or
//! [`export_postprocess!`].
//! To prepare something once per deployment, a plugin also implements [`Init`] and adds `with init` to that line.
//!
//! # Layout
//! - [`stage`]: the four traits, [`Init`], and the macros that export them.
//! - [`tensor`]: f32 and u8 tensors; makes those of f16 and bf16.
//! - [`config`]: typed access to the plugin's configuration. [`Configured`]: a value that `init` makes, such as settings.
//! - [`gathered`]: the items that a step with `gather = true` gets.
//! - [`labels`]: label files with one label per line.
//! - `model`: the inputs and outputs that the model declares. Needs the feature `model`.
//! - [`bindings`]: the bindings generated from `wit/`, for everything that the helpers do not cover.
//!
//! A plugin may have any `#[global_allocator]`: the host allocates arguments with it, too (`realloc`).
//!
//! The host logs everything that a plugin prints, and the message of a panic, as log events with the names of the
//! plugin and the request.

pub mod bindings;
pub mod config;
mod configured;
pub mod gathered;
pub mod labels;
#[cfg(feature = "model")]
pub mod model;
#[cfg(all(target_family = "wasm", target_env = "p2"))]
mod realloc;
pub mod stage;
pub mod tensor;

pub use bindings::{
    Bundle, Failure, NamedTensor, Outcome, Prepared, Reply, Request, Tensor, TensorType, assets, nn, regions,
};
pub use configured::Configured;
pub use stage::{Infer, Init, Postprocess, Preprocess, Transform};
