//! What the crate `ort` has no safe function for: calls of the C interface of ONNX Runtime, with the reasons why they
//! are sound. No other file of this crate calls it.

pub(super) mod arena;
pub(super) mod assignment;
mod bound_run;
pub(super) mod host_memory;
pub(super) mod metadata;
mod pairs;
pub(super) mod shared_session;
