//! The Open Inference Protocol over gRPC, with `grpc.health.v1` and server reflection.
//!
//! - `services`: all services. `service`: the calls of the protocol. `convert`: their messages from and to `crate::serve::oip`.
//! - `budget`: the bytes of messages count as bodies do. `codec`: how many of what they have, before they are decoded.
//! - `error`: which problem is which code of gRPC.

mod budget;
mod codec;
mod convert;
mod error;
mod service;
mod services;

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated; the documentation stands in proto/"
)]
pub mod inference {
    include!(concat!(env!("OUT_DIR"), "/inference.rs"));
}

pub use services::{Health, Services};
