//! Models and the backends that run them.
//!
//! - [`model`]: the traits [`Backend`] and [`Model`], and the check of inputs against a model's signature.
//! - [`error`]: the errors of models.
//! - [`backends`]: the list of backends; a new one is registered there.
//!   [`backends::rten`], [`backends::onnxruntime`]: the backends. [`device`], [`chip`]: the devices that they run on.
//! - [`loaded_model`]: one run: checks the inputs, waits for permits, chooses the thread.
//!   `run_queue`: the runs that wait for a thread.
//! - [`memory`]: the memory that a model holds on its device.
//! - [`bound_budget`]: the limit of all memory to which runs are bound.
//! - [`host_buffers`]: reserved buffers for inputs in memory from which the device copies directly.
//! - [`handles`]: the resources of `wasi:nn` that a guest holds.
//! - [`health`]: takes a model out of service whose device fails; `monitored`: counts its runs and tries it again.
//! - [`agreement`]: compares a model on its device with the same model on the CPU.
//! - `not_finite`: NaN and infinities, which some devices lose.
//! - `size_limit`: refuses runs whose values would be too large to allocate.
//! - [`cancellation`]: stops runs whose callers are gone.
//! - [`batch`]: combines runs that wait for the same model into one run.

pub mod agreement;
pub mod backends;
pub mod batch;
pub mod bound_budget;
pub mod cancellation;
pub mod chip;
pub mod device;
mod dynamic_shapes;
pub mod error;
pub mod handles;
pub mod health;
pub mod host_buffers;
pub mod loaded_model;
pub mod memory;
pub mod model;
mod monitored;
mod not_finite;
mod run_queue;
mod size_limit;

pub use agreement::{Agreement, Disagreement};
pub use backends::BackendName;
pub use batch::{BatchObserver, BatchRules, BatchSizes, Batches};
pub use bound_budget::{BOUND_MEMORY, BoundFigures};
pub use cancellation::Cancellation;
pub use chip::{Chip, DeviceDescription, Placement};
pub use device::Device;
pub use error::{InputError, LoadError, Misfit, NnError, NnErrorKind, RunError, SettingsError};
pub use health::{HangRule, HealthObserver, HealthRules};
pub use host_buffers::{HostBlock, HostBuffer, HostBuffers};
pub use loaded_model::LoadedModel;
pub use memory::{ArenaSizes, DeviceMemory, LoadFigures, MemorySource};
pub use model::{Backend, BackendEntry, BackendSettings, Model, ModelProperties, ModelSource, Signature};
pub use plimsoll_onnx::{Description, ExternalError, RowProof, ValueDescription, describe, external_files, prove_rows};
