//! The metrics of `GET /metrics`, in the OpenMetrics text format.
//!
//! Each file has the metrics of one subject. One call (such as `families::family`) declares and registers a metric.
//! Metric names are part of the public interface (`docs/metrics.md`).

pub mod authentication;
pub mod batches;
pub mod deployments;
mod devices;
pub mod families;
pub mod faults;
pub mod load;
pub mod model_memory;
mod named_registry;
pub mod peers;
mod process;
pub mod registry;
pub mod requests;
mod shadows;
mod stage_labels;
pub mod stage_marks;
pub mod stages;
pub mod traces;

pub use batches::BatchMetrics;
pub use families::Buckets;
pub use faults::TaskPanics;
pub use model_memory::{ModelMemory, ModelMemoryRow};
pub use named_registry::MetricDescription;
pub use registry::Metrics;
pub use stages::StageMetrics;
