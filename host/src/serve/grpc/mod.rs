//! The Open Inference Protocol over gRPC, with `grpc.health.v1` and server reflection.
//!
//! - `services`: all gRPC services and their routes. `service`: the methods of the protocol. `convert`: converts its
//!   messages from and to `crate::serve::oip`.
//!   `contents`: tensors in typed fields. `metadata`: the metadata of calls. `stream_answer`: the answers of a stream.
//! - `entrance`: the checks before a call reaches its service.
//! - `framing`: finds the messages in a body. `budget`: applies the limits on bodies to them. `reservation`: the bytes that
//!   a call holds. `codec`: counts the parts of a message before it is decoded.
//! - `error`: converts an error to a gRPC status.

mod budget;
mod codec;
mod contents;
mod convert;
mod entrance;
mod error;
mod framing;
mod metadata;
mod reservation;
mod service;
mod services;
mod stream_answer;
mod watch;

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated; the documentation is in proto/"
)]
pub mod inference {
    include!(concat!(env!("OUT_DIR"), "/inference.rs"));
}

pub(in crate::serve) use error::status;
pub use services::{Health, Services};

/// Reads a message as the service does: counts its parts, decodes and converts it. `None` if it is refused. For the
/// fuzzing target `grpc`.
#[cfg(fuzzing)]
pub fn read_message(bytes: &[u8]) -> Option<super::oip::request::Request> {
    codec::count(bytes).ok()?;
    let message = <inference::ModelInferRequest as prost::Message>::decode(bytes).ok()?;
    convert::request(message).ok().map(|(request, _)| request)
}
