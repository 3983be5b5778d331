//! Serving: the routes of HTTP and gRPC, and what they share.
//!
//! - [`app`]: everything that the routes need. [`server`]: accepts connections and stops without losing a request.
//! - [`admission`]: the bounds on requests. [`access`]: who may administrate.
//! - [`error`]: a request that failed. [`problem`]: the same as a reply of HTTP.
//! - [`headers`]: the headers of requests and replies.
//! - [`oip`]: the Open Inference Protocol without a transport.
//! - [`http`]: the routes of HTTP. [`grpc`]: the services of gRPC.

pub mod access;
pub mod admission;
pub mod app;
pub mod close_unread;
pub mod error;
pub mod grpc;
pub mod headers;
pub mod http;
pub mod oip;
pub mod problem;
pub mod server;

pub use app::App;
pub use server::{Listeners, serve};
