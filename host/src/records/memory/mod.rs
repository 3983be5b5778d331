//! The memory report: the memory that stage runs needed, the callers that need it, and what follows from it, next to the
//! resident memory of the process. Resident memory must stay flat; the report says who needs how much.
//!
//! - [`stats`]: counts stage runs and requests. [`series`]: by pipeline, stage, plugin, version, chip and outcome.
//! - [`marks`]: high-water marks since start and in sliding windows.
//! - [`callers`]: the callers with the most bytes and the most requests.
//! - [`compare`]: whether a difference is due to the chip or to the mix of inputs. [`advice`]: the cap a stage should have.
//! - [`report`]: all of it as JSON and CSV.

pub mod advice;
pub mod callers;
pub mod compare;
pub mod marks;
pub mod report;
pub mod series;
pub mod stats;

pub use stats::MemoryStats;
