//! A stage: one plugin with its environment and limits, run in its own store for every request.
//!
//! - [`bindings`]: the contract, generated from `wit/`. [`call`]: its typed calls. [`code`]: the compiled component.
//! - [`bundle`]: what steps hand on. [`environment`]: the settings, assets and model of a stage.
//! - [`store`]: the data of a store, its cap and its deadline. [`linker`]: the host functions that a guest may call.
//!   [`wasi_nn`]: those of `wasi:nn`. `poll_limit`: those of `wasi:io/poll`.
//!   [`guest_output`]: the guest's stdout and stderr as log events.
//!   [`guest_clock`]: clocks that can be advanced.
//! - [`error`]: a stage that failed. `odd_tensor`: tensors that are not handed on.
//! - [`lifecycle`]: the optional `init` of a plugin.
//! - [`core`]: the part that all kinds of stage share. [`limits`]: cap, times and output of a stage. [`run`]: one run: instantiate, call, drop.
//! - [`observer`]: the interface that every run reports to.
//! - `regions`: parts of tensors, for guests. [`typed`]: the kinds of stage.

pub mod bindings;
pub mod bundle;
pub mod call;
pub mod code;
pub mod core;
pub mod environment;
pub mod error;
pub mod guest_clock;
pub mod guest_output;
pub mod lifecycle;
pub mod limits;
pub mod linker;
pub mod observer;
mod odd_tensor;
mod poll_limit;
mod regions;
pub mod run;
pub mod store;
pub mod typed;
pub mod wasi_nn;

pub use bindings::{Failure, Reply, Request};
pub use bundle::{Bundle, Handed};
pub use core::StageCore;
pub use environment::{Asset, StageEnvironment};
pub use error::StageError;
pub use limits::Limits;
pub use observer::{RunLog, RunObserver, StageReport};
pub use store::StoreState;
pub use typed::{InferStage, PostprocessStage, PreprocessStage, TransformStage};
