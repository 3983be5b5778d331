//! Serving: the HTTP routes and the gRPC services, and the code that they share.
//!
//! - [`app`]: the application state. [`server`]: accepts connections, and finishes running requests before it stops.
//!   `connections`: the open connections. [`close_unread`]: closes connections whose request body was not read.
//! - [`admission`]: the limits on requests. [`access`]: authorization of administration requests.
//! - [`error`]: the error of a request. [`problem`]: its HTTP reply.
//! - [`headers`]: the headers of requests and replies.
//! - [`oip`]: the Open Inference Protocol, independent of the transport.
//! - [`http`]: the HTTP routes. [`grpc`]: the gRPC services.

pub mod access;
pub mod admission;
pub mod app;
pub mod close_unread;
mod connections;
pub mod error;
pub mod grpc;
pub mod headers;
pub mod http;
pub mod oip;
pub mod problem;
pub mod server;

pub use app::App;
pub use server::{Listeners, serve};
