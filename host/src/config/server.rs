//! `[server]`: where and how HTTP is served.

use std::net::SocketAddr;
use std::time::Duration;

use bytesize::ByteSize;
use plimsoll_runtime::scheduling::Scheduling;
use serde::Deserialize;

/// `[server]`.
#[derive(Debug, Clone, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Address and port of gRPC; default the same as HTTP.
    pub grpc_listen: Option<SocketAddr>,
    /// How long requests may go on after a signal to stop.
    #[serde(with = "humantime_serde")]
    pub grace_period: Duration,
    /// Bytes of one request's body.
    pub max_body: ByteSize,
    /// Bytes of all bodies that are held at once.
    pub body_budget: ByteSize,
    /// How long a body may take to arrive.
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// Requests whose stages run at once; the rest queue.
    pub max_concurrency: u32,
    /// Requests that wait; more are answered `overloaded`.
    pub max_queue: u32,
    /// Whether long runs share the cores so that short runs stay fast; false to find out whether a latency problem is
    /// caused by it.
    pub fair_scheduling: bool,
}

impl Server {
    /// Whether the scheduling heuristics are on.
    pub fn scheduling(&self) -> Scheduling {
        if self.fair_scheduling { Scheduling::Fair } else { Scheduling::Off }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            grpc_listen: None,
            grace_period: Duration::from_secs(30),
            max_body: ByteSize::mib(32),
            body_budget: ByteSize::mib(512),
            body_timeout: Duration::from_secs(30),
            // A stage that waits for its backend holds its place, so more than there are cores.
            max_concurrency: 32,
            max_queue: 256,
            fair_scheduling: true,
        }
    }
}
