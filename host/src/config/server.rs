//! `[server]`: addresses and limits of the server.

use std::net::SocketAddr;
use std::time::Duration;

use bytesize::ByteSize;
use plimsoll_runtime::scheduling::Scheduling;
use serde::Deserialize;

/// `[server]`.
#[derive(Debug, Clone, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address and port of HTTP; port 0 selects a free port.
    pub listen: SocketAddr,
    /// Address and port of gRPC; default the same as HTTP.
    pub grpc_listen: Option<SocketAddr>,
    /// How long running requests may continue after a signal to stop.
    #[serde(with = "humantime_serde")]
    pub grace_period: Duration,
    /// Maximum bytes of one request's body.
    pub max_body: ByteSize,
    /// Maximum bytes of all bodies that are in memory at the same time.
    pub body_budget: ByteSize,
    /// How long a body may take to arrive.
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// Maximum number of requests whose stages run at the same time; other requests wait in the queue.
    pub max_concurrency: u32,
    /// Maximum number of requests in the queue; more requests are refused with `overloaded`.
    pub max_queue: u32,
    /// True if long runs share the cores so that short runs stay fast. Set it to false to find out if this causes a
    /// latency problem.
    pub fair_scheduling: bool,
}

impl Server {
    /// The mode of the scheduling heuristics.
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
            // More than the number of cores, because a stage that waits for its backend keeps its slot.
            max_concurrency: 32,
            max_queue: 256,
            fair_scheduling: true,
        }
    }
}
