//! The metrics of `GET /metrics`, in the OpenMetrics text format.
//!
//! Each file has the metrics of one subject; a metric is declared and registered in one place (`families::family`). The
//! names of metrics are part of the public interface (README).

pub mod batches;
pub mod deployments;
pub mod families;
pub mod process;
pub mod registry;
pub mod requests;
pub mod stages;

pub use batches::BatchMetrics;
pub use registry::Metrics;
pub use stages::StageMetrics;
