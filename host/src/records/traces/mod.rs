//! Traces: each sampled request becomes a span, with a child for each stage run, and is exported by OTLP.
//!
//! The spans are made from the record of the request after it has ended, on the thread of the exporter. A request only
//! decides whether it is sampled and, at its end, puts what is known about it into a queue; if the queue is full, its
//! spans are dropped and counted. So a collector that is slow, hangs or is gone delays no request.
//!
//! - [`tracer`]: starts it all. [`settings`]: how traces are exported.
//! - [`context`]: `traceparent` and `tracestate`. [`sampler`]: which requests are sampled. `place`: a span's place in its
//!   trace.
//! - `request_trace`: the trace of a request that runs. `ended`: what is known after its end. `spans`: its spans.
//! - `exporter`: the thread that exports. `transport`: HTTP and gRPC, with `certificates`. `queue`: what waits for it.

mod certificates;
pub mod context;
mod ended;
mod exporter;
mod place;
mod queue;
pub(super) mod request_trace;
pub mod sampler;
pub mod settings;
mod spans;
pub mod tracer;
pub mod transport;

pub use settings::{TraceProtocol, TraceSettings};
pub use tracer::Traces;
