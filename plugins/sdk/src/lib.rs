//! The guest library of Plimsoll: what a plugin in Rust is written with.
//!
//! A plugin is a `cdylib` for `wasm32-wasip2` with one implementation of [`Preprocess`], [`Infer`] or
//! [`Postprocess`] and one line of [`export_preprocess!`], [`export_infer!`] or [`export_postprocess!`].
//! A plugin that has something to prepare once per deployment implements [`Init`] too and adds `with init`
//! to that line.
//!
//! # Layout
//! - [`stage`]: the three traits, [`Init`], and the macros that export them.
//! - [`tensor`]: f32 and u8 tensors.
//! - [`config`]: the deployment's configuration, typed.
//! - [`labels`]: label files, one label a line.
//! - [`bindings`]: the generated contract (`wit/`), for whatever the helpers do not cover.
//!
//! Whatever a plugin prints becomes a log event of the host that names the plugin and the request, and so
//! does the message of a panic.

pub mod bindings;
pub mod config;
pub mod labels;
pub mod stage;
pub mod tensor;

pub use bindings::{Failure, NamedTensor, Prepared, Reply, Request, Tensor, TensorType, assets, nn};
pub use stage::{Infer, Init, Postprocess, Preprocess};
