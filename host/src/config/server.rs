//! `[server]`: addresses and limits of the server.

use std::net::SocketAddr;
use std::time::Duration;

use bytesize::ByteSize;
use plimsoll_runtime::scheduling::Scheduling;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::host_name::HostName;
use super::listen::Listen;
use super::texts::{Addresses, Size, Time, size};
use crate::base::process::memory_of_cgroup;
use crate::records::metrics::Buckets;

/// The default of `max_body`.
const MAX_BODY: ByteSize = ByteSize::mib(32);
/// The most that a byte budget is by default.
const MAX_BUDGET: ByteSize = ByteSize::mib(512);

/// `[server]`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// The addresses of HTTP.
    #[schemars(with = "Addresses")]
    pub listen: Listen,
    /// The addresses of gRPC; default the same as HTTP.
    #[schemars(with = "Option<Addresses>")]
    pub grpc_listen: Option<Listen>,
    /// Names of hosts that requests may name, beside `localhost`, IP addresses and the names in `listen`; `*` for all. By
    /// default an address of the loopback interface accepts no other names, and other addresses accept all.
    #[schemars(with = "Option<Vec<String>>")]
    pub hosts: Option<Vec<HostName>>,
    /// How long the server continues to serve after SIGTERM, while it reports that it is not ready. In this time a
    /// load balancer stops sending requests.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "Time")]
    pub drain: Duration,
    /// How long running requests may continue after a signal to stop.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "Time")]
    pub grace_period: Duration,
    /// Maximum bytes of one request's body.
    #[serde(serialize_with = "size")]
    #[schemars(with = "Size")]
    pub max_body: ByteSize,
    /// Maximum bytes of all bodies that are in memory at the same time.
    #[serde(serialize_with = "size")]
    #[schemars(with = "Size")]
    pub body_budget: ByteSize,
    /// How long a body may take to arrive.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "Time")]
    pub body_timeout: Duration,
    /// Minimum bytes per second at which a body must arrive, measured over 10 s; 0 for no minimum.
    #[serde(serialize_with = "size")]
    #[schemars(with = "Size")]
    pub body_min_rate: ByteSize,
    /// How long a request waits for bytes if a byte budget is spent; then it is refused with `overloaded`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "Time")]
    pub budget_wait: Duration,
    /// Maximum bytes of all replies that are being sent.
    #[serde(serialize_with = "size")]
    #[schemars(with = "Size")]
    pub reply_budget: ByteSize,
    /// How long a client may read nothing of its reply; then the reply is cut off.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "Time")]
    pub reply_timeout: Duration,
    /// Bytes per second that a client must read of its reply, measured over `reply_timeout`, at most 30 s; 0 for no
    /// minimum. Slower replies are cut off if other replies wait for `reply_budget`.
    #[serde(serialize_with = "size")]
    #[schemars(with = "Size")]
    pub reply_min_rate: ByteSize,
    /// Maximum number of open connections; default three quarters of the descriptors that the process may open.
    pub max_connections: Option<u32>,
    /// Maximum number of open streams of gRPC without an end; for a new one, the stream that waits for the longest time
    /// ends.
    pub max_streams: u32,
    /// Maximum number of requests of one caller at the same time; no limit by default.
    pub max_caller_concurrency: Option<u32>,
    /// Maximum number of requests per second of one caller; no limit by default.
    pub max_caller_rate: Option<f64>,
    /// Maximum number of requests whose stages run at the same time; other requests wait in the queue.
    pub max_concurrency: u32,
    /// Maximum number of requests in the queue; more requests are refused with `overloaded`.
    pub max_queue: u32,
    /// Maximum number of shadow runs at the same time.
    pub max_shadow_runs: u32,
    /// Maximum number of shadow runs that wait; more are skipped.
    pub max_shadow_queue: u32,
    /// Maximum bytes of the tensors that shadow runs hold; a run that finds no room is skipped.
    #[serde(serialize_with = "size")]
    #[schemars(with = "Size")]
    pub shadow_budget: ByteSize,
    /// `coarse` for fewer buckets in the histograms of `/metrics`; `none` for none, and no histograms of stages.
    pub metric_buckets: Buckets,
    /// True if long runs share the cores so that short runs stay fast. Set it to false to find out if this causes a
    /// latency problem.
    pub fair_scheduling: bool,
    /// True if the server has the console, a page for the people who operate it.
    pub console: bool,
}

impl Server {
    /// The mode of the scheduling heuristics.
    pub fn scheduling(&self) -> Scheduling {
        if self.fair_scheduling { Scheduling::Fair } else { Scheduling::Off }
    }
}

/// The default of a byte budget: a quarter of the memory that the cgroup of this process may use, because the plugins and the
/// models need the rest; at least one body, at most 512 MiB.
fn default_budget(cgroup_limit: Option<u64>) -> ByteSize {
    let quarter = cgroup_limit.map_or(MAX_BUDGET, |limit| ByteSize(limit / 4));
    quarter.clamp(MAX_BODY, MAX_BUDGET)
}

impl Default for Server {
    fn default() -> Self {
        let budget = default_budget(memory_of_cgroup().1);
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)).into(),
            grpc_listen: None,
            hosts: None,
            drain: Duration::from_secs(5),
            grace_period: Duration::from_secs(30),
            max_body: MAX_BODY,
            body_budget: budget,
            body_timeout: Duration::from_secs(30),
            body_min_rate: ByteSize::kib(1),
            budget_wait: Duration::from_secs(3),
            reply_budget: budget,
            reply_timeout: Duration::from_secs(30),
            // Below the rate of a phone with a poor connection.
            reply_min_rate: ByteSize::kib(32),
            max_connections: None,
            max_streams: 4_096,
            max_caller_concurrency: None,
            max_caller_rate: None,
            // More than the number of cores, because a stage that waits for its backend keeps its slot.
            max_concurrency: 32,
            max_queue: 256,
            max_shadow_runs: 2,
            max_shadow_queue: 16,
            shadow_budget: ByteSize::mib(64),
            metric_buckets: Buckets::Fine,
            fair_scheduling: true,
            console: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_budgets_follow_the_limit_of_the_cgroup() {
        let limit = |mib: u64| default_budget(Some(mib << 20));
        assert_eq!(default_budget(None), ByteSize::mib(512));
        assert_eq!([limit(16 << 10), limit(2_048)], [ByteSize::mib(512); 2]);
        assert_eq!(limit(1_024), ByteSize::mib(256));
        assert_eq!([limit(128), limit(64)], [ByteSize::mib(32); 2], "one body fits");
    }
}
