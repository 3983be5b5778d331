//! Serving: the HTTP routes and the gRPC services, and the code that they share.
//!
//! - [`app`]: the application state. [`readiness`]: whether it is ready, and why not. [`server`]: accepts connections, and finishes running requests before it stops.
//!   [`listener`]: its sockets: ports ([`port`]), and unix sockets ([`unix_socket`]). [`stop`]: the requests to stop it.
//!   `connections`: the open connections. `handler_panics`: the reply if a handler panics; `refusal`: its format.
//!   [`close_unread`]: closes connections whose request body was not read; `linger`: so that the reply still reaches
//!   the client.
//! - [`admission`]: the limits on requests; [`overloaded`]: the error if there is no room. [`byte_budget`]: a budget of bytes. [`fair_slots`]: slots that pipelines
//!   share. [`load`]: how many of them are taken. [`caller_limit`]: the limits for each caller. [`pace`]: the time and the rate at which a body must
//!   arrive.
//! - [`access`]: the token of administration, which an [`administrator`] has. [`credentials`]: the token or key of a
//!   request. [`keys`], `authentication`: the keys of callers. `failure_log`: refused credentials are counted and logged. [`tls`]: the certificate. `secured`: an encrypted
//!   connection. `refresh`: reads keys and certificate again.
//! - [`client`]: the address and name of the client of a request. `entrance`: what is checked before a request is routed;
//!   `hosts`: the names of the server that a request may use; `endpoint`: an address with its routes and hosts.
//!   [`part`]: the routes of an address.
//! - `connection_limit`: the bound on open connections. `open_connection`: an open connection and what its
//!   requests wait for. `reply_body`: the limits on replies; `waiting_reply`: on those that wait. `held_reply`: the bytes that a client has not
//!   read, and how fast it reads. `slowness`: which client is the slowest.
//!   `stream_limit`: the bound on streams without an end.
//! - `fleet`, `fleet_client`: ask the other servers of a fleet for their canaries.
//! - [`shadow`]: runs of shadow chips.
//! - `host_load`: how much of the host is in use, for the metrics.
//! - `blocking`: work that leaves the async workers.
//! - [`error`]: the error of a request. [`problem`]: its HTTP reply.
//! - [`headers`]: the headers of requests and replies.
//! - [`oip`]: the Open Inference Protocol, independent of the transport.
//! - [`http`]: the HTTP routes. [`grpc`]: the gRPC services.

pub mod access;
pub mod administrator;
pub mod admission;
pub mod app;
mod authentication;
mod blocking;
pub mod byte_budget;
pub mod caller_limit;
pub mod client;
pub mod close_unread;
mod connection_limit;
mod connections;
mod copies;
pub mod credentials;
mod endpoint;
mod entrance;
pub mod error;
mod failure_log;
pub mod fair_slots;
mod fleet;
mod fleet_client;
pub mod grpc;
mod handler_panics;
pub mod headers;
mod held_reply;
mod host_load;
mod hosts;
pub mod http;
pub mod keys;
mod linger;
pub mod listener;
pub mod load;
pub mod oip;
mod open_connection;
pub mod overloaded;
pub mod pace;
pub mod part;
pub mod port;
mod preface;
pub mod problem;
pub mod readiness;
mod refresh;
mod refusal;
mod reply_body;
mod secured;
pub mod server;
pub mod shadow;
mod slowness;
pub mod stop;
mod stream_limit;
pub mod tls;
pub mod unix_socket;
mod waiting_reply;

pub use app::App;
pub use listener::Listener;
pub use server::{Listeners, serve};
pub use stop::Stop;
