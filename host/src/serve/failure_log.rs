//! Counts and logs what is refused because of its credentials.
//!
//! Anybody can cause these lines, and in a flood they would push other lines of the audit log out of its queue. So only some
//! are written in each interval, for each address and in total. The others are counted, and their number is written. The
//! metric counts all of them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use plimsoll_runtime::text::shortened;

use super::client::Client;
use super::credentials::Failure;
use super::listener::Peer;
use crate::records::metrics::Metrics;

/// The limits apply to intervals of this length.
const INTERVAL: Duration = Duration::from_secs(10);
/// Maximum lines for one address in an interval.
const LINES_OF_ADDRESS: u32 = 5;
/// Maximum lines for all addresses in an interval.
const LINES: u32 = 100;
/// Maximum addresses whose lines are counted separately in an interval.
const ADDRESSES: usize = 50;

/// Counts and logs what is refused because of its credentials.
pub(super) struct FailureLog {
    metrics: Arc<Metrics>,
    interval: Mutex<Interval>,
}

/// The lines of the present interval.
struct Interval {
    began: Instant,
    written: u32,
    addresses: BTreeMap<Address, Lines>,
    /// Lines of more addresses that were not written.
    of_others: u64,
}

#[derive(Default)]
struct Lines {
    written: u32,
    omitted: u64,
}

/// Where requests come from. A client of IPv6 usually has a whole network of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Address {
    Unix,
    Ip(IpAddr),
    Network(Ipv6Addr),
}

impl Address {
    fn of(peer: Peer) -> Self {
        match peer.map(|peer| peer.ip().to_canonical()) {
            None => Self::Unix,
            Some(IpAddr::V6(ip)) if !ip.is_loopback() => Self::Network(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
            Some(ip) => Self::Ip(ip),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix => f.write_str("unix"),
            Self::Ip(ip) => ip.fmt(f),
            Self::Network(ip) => write!(f, "{ip}/64"),
        }
    }
}

impl Interval {
    fn begin() -> Self {
        Self { began: Instant::now(), written: 0, addresses: BTreeMap::new(), of_others: 0 }
    }

    /// Counts a line. Returns true if it is to be written.
    fn takes(&mut self, address: Address) -> bool {
        let is_known = self.addresses.contains_key(&address) || self.addresses.len() < ADDRESSES;
        let has_room = self.written < LINES;
        if !is_known {
            self.written += u32::from(has_room);
            self.of_others += u64::from(!has_room);
            return has_room;
        }
        let lines = self.addresses.entry(address).or_default();
        let is_written = has_room && lines.written < LINES_OF_ADDRESS;
        self.written += u32::from(is_written);
        lines.written += u32::from(is_written);
        lines.omitted += u64::from(!is_written);
        is_written
    }

    /// Returns true if no line was omitted so far.
    fn is_complete(&self) -> bool {
        self.of_others == 0 && self.addresses.values().all(|lines| lines.omitted == 0)
    }

    /// The number of lines that were not written, by address.
    fn omitted(&self) -> Vec<(String, u64)> {
        let known = self.addresses.iter().map(|(address, lines)| (address.to_string(), lines.omitted));
        let all = known.chain([("other addresses".to_owned(), self.of_others)]);
        all.filter(|(_, omitted)| *omitted > 0).collect()
    }
}

impl FailureLog {
    pub(super) fn new(metrics: &Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { metrics: Arc::clone(metrics), interval: Mutex::new(Interval::begin()) })
    }

    /// Counts and logs a request whose credentials were refused. `what` is its method and path.
    pub(super) fn refused(self: &Arc<Self>, realm: &'static str, failure: Failure, client: &Client, what: &str) {
        self.metrics.record_authentication_failure(realm, failure.as_str());
        if self.takes(client.address) {
            // The secret itself is never logged, because a wrong token is often the valid token of another server.
            tracing::warn!(
                target: "plimsoll::audit", realm, request = shortened(what), client = %client,
                reason = failure.as_str(), "authentication failed"
            );
        }
    }

    /// Counts and logs a connection that could not be encrypted. `failure`: its certificate was refused.
    pub(super) fn not_encrypted(self: &Arc<Self>, peer: Peer, failure: Option<Failure>, error: &dyn fmt::Display) {
        if let Some(failure) = failure {
            self.metrics.record_authentication_failure("clients", failure.as_str());
        }
        if !self.takes(peer) {
            return;
        }
        let client = Client { address: peer, name: None };
        match failure {
            Some(failure) => tracing::warn!(
                target: "plimsoll::audit", realm = "clients", client = %client, reason = failure.as_str(),
                "authentication failed: {error}"
            ),
            None => tracing::info!(target: "plimsoll::tls", client = %client, "no TLS connection: {error}"),
        }
    }

    /// Counts a line. Returns true if it is to be written.
    fn takes(self: &Arc<Self>, peer: Peer) -> bool {
        let (is_written, omitted) = {
            let mut interval = self.lock();
            let ended = (interval.began.elapsed() >= INTERVAL)
                .then(|| std::mem::replace(&mut *interval, Interval::begin()).omitted());
            let was_complete = interval.is_complete();
            let is_written = interval.takes(Address::of(peer));
            if was_complete && !is_written {
                self.write_later(interval.began);
            }
            (is_written, ended.unwrap_or_default())
        };
        write(omitted);
        is_written
    }

    /// Writes the numbers when the interval that began then is over, also if nothing is refused any more.
    fn write_later(self: &Arc<Self>, began: Instant) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let this = Arc::downgrade(self);
        runtime.spawn(async move {
            tokio::time::sleep_until((began + INTERVAL).into()).await;
            let Some(this) = this.upgrade() else { return };
            let ended = {
                let mut interval = this.lock();
                (interval.began == began).then(|| std::mem::replace(&mut *interval, Interval::begin()).omitted())
            };
            write(ended.unwrap_or_default());
        });
    }

    fn lock(&self) -> MutexGuard<'_, Interval> {
        self.interval.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FailureLog {
    fn drop(&mut self) {
        write(self.lock().omitted());
    }
}

fn write(omitted: Vec<(String, u64)>) {
    for (client, count) in omitted {
        tracing::warn!(
            target: "plimsoll::audit", client, count,
            "more authentications or TLS connections failed, which are not in the log: at most {LINES_OF_ADDRESS} of an \
             address are, and {LINES} in total, in {INTERVAL:?}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_limited_for_each_address_and_in_total_and_none_is_uncounted() {
        let mut interval = Interval::begin();
        let written = |interval: &mut Interval, address: Address, count: u32| {
            (0..count).filter(|_| interval.takes(address)).count() as u32
        };
        let of = |text: &str| Address::of(Some((text.parse::<IpAddr>().expect("an address"), 1).into()));
        assert_eq!(written(&mut interval, of("2001:db8::1"), 7), LINES_OF_ADDRESS);
        assert_eq!(written(&mut interval, of("2001:db8::2"), 1), 0, "the same network");
        assert_eq!(written(&mut interval, of("::ffff:192.0.2.1"), 4), 4);
        assert_eq!(written(&mut interval, of("192.0.2.1"), 4), LINES_OF_ADDRESS - 4);
        let mut all = LINES_OF_ADDRESS * 2;
        for number in 0..200 {
            all += written(&mut interval, Address::of(Some(([198, 51, 100, number], 1).into())), 2);
        }
        assert_eq!(all, LINES);
        let omitted = interval.omitted();
        assert_eq!(omitted.iter().map(|(_, count)| count).sum::<u64>() + u64::from(LINES), 8 + 8 + 400);
        assert!(omitted.len() <= ADDRESSES + 1 && omitted.contains(&("2001:db8::/64".to_owned(), 3)), "{omitted:?}");
    }
}
