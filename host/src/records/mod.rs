//! Records: the memory and time that requests needed, and the reports about them.
//!
//! - [`request`]: the record of one request. The runtime reports every stage run to it. Dropping the record counts and
//!   logs the request. [`origin`]: where it came from. `request_summary`: the part of it that the reply shows.
//! - [`store`]: everything that is counted since start. [`metrics`]: the Prometheus metrics. [`statistics`]: counts and
//!   times by model and version.
//! - [`background`]: the background tasks and threads.
//! - [`memory`]: the memory report: high-water marks, callers, comparisons, advice.
//! - [`canary_side`]: the figures of one side of a canary. [`canary_counts`]: its counts, which servers exchange.
//!   [`canary_request`]: what one request adds to them.
//! - [`shadow`]: how much the outputs of a shadow chip differ.
//! - [`leak_reports`]: reports of the leak laboratory in the data folder.
//! - [`recent`]: the latest requests.
//! - [`recording`]: inputs that are kept on disk.
//! - [`traces`]: the spans of sampled requests, which are exported.

pub mod background;
pub mod canary_counts;
pub mod canary_request;
pub mod canary_side;
pub mod key;
pub mod leak_reports;
pub mod memory;
pub mod metrics;
pub mod origin;
pub mod recent;
pub mod recording;
pub mod request;
pub mod request_summary;
pub mod shadow;
pub mod statistics;
pub mod store;
pub mod time;
pub mod traces;

pub use origin::Origin;
pub use request::{RequestRecord, RequestStart};
pub use request_summary::RequestSummary;
pub use store::Records;
