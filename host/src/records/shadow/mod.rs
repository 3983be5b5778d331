//! Shadow runs: how much the outputs of a shadow chip differ from those of the chip that answers.
//!
//! - [`tap`]: what the record of a request passes on. [`pair`]: two chips of an infer stage, and why a run was skipped.
//! - [`stats`]: everything that is counted. `pair_stats`, `output_stats`: the figures of two chips, and of one output.
//!   [`report`]: the reply of `GET /v1/chips/compare`.

mod output_stats;
pub mod pair;
mod pair_stats;
pub mod report;
pub mod stats;
pub mod tap;

pub use pair::{ChipPair, ComparedRun, Skipped, Times};
pub use report::PairReport;
pub use stats::ShadowStats;
pub use tap::ShadowTap;
pub(in crate::records) use tap::Tapped;
