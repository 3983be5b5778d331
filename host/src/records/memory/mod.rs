//! The memory report: the memory that stage runs needed, the callers that caused it, the recommended caps, and the
//! resident memory of the process. Resident memory must stay flat. The report shows which plugins and callers need how
//! much.
//!
//! - [`stats`]: counts stage runs and requests. [`series`]: the counts by pipeline, stage, plugin, version, chip and
//!   outcome.
//! - [`marks`]: high-water marks since start and in sliding windows.
//! - [`callers`]: the callers with the most bytes and the most requests.
//! - [`compare`]: finds out if a difference is due to the chip or to the mix of inputs. [`advice`]: the recommended cap
//!   of each stage.
//! - [`history`]: what happened when. `route_history`: the timelines of a route ([`timeline`], `latency`). `slot`: the
//!   marks of one interval.
//! - [`report`]: the whole report as JSON and CSV.

pub mod advice;
pub mod callers;
pub mod compare;
pub mod history;
mod latency;
pub mod marks;
pub mod report;
pub mod route_history;
pub mod series;
mod slot;
pub mod stats;
pub mod timeline;

pub use stats::MemoryStats;
