//! `[fleet]`: the other servers with which canaries are decided.

use std::time::Duration;

use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::texts::Time;

/// Maximum number of other servers. Each of them asks all others every second while a canary runs.
const MAX_PEERS: usize = 64;

/// `[fleet]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fleet {
    /// The addresses of the other servers: `http://HOST:PORT` or `https://HOST:PORT`. A server that is named in its own
    /// list is left out, so all servers may have the same list.
    pub peers: Vec<String>,
    /// A server that does not answer for this long is left out until it answers again.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "Time")]
    pub timeout: Duration,
}

impl Default for Fleet {
    fn default() -> Self {
        Self { peers: Vec::new(), timeout: Duration::from_secs(10) }
    }
}

impl Fleet {
    /// Returns key and reason of the first setting that is not valid.
    pub(super) fn mistake(&self) -> Option<(&'static str, String)> {
        if self.timeout.is_zero() {
            return Some(("fleet.timeout", "must be greater than 0, for example \"10s\"".to_owned()));
        }
        if self.peers.len() > MAX_PEERS {
            return Some(("fleet.peers", format!("at most {MAX_PEERS} servers can decide together")));
        }
        let wrong = |at: usize, why: &str| {
            // The address is not shown: it may have a password.
            Some((
                "fleet.peers",
                format!("address {} {why}; write \"http://HOST:PORT\" or \"https://HOST:PORT\"", at + 1),
            ))
        };
        for (at, peer) in self.peers.iter().enumerate() {
            let Ok(url) = peer.parse::<Url>() else { return wrong(at, "is not a URL") };
            if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
                return wrong(at, "is neither http nor https");
            }
            if !url.username().is_empty() || url.password().is_some() {
                return wrong(at, "has a user or a password");
            }
            if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
                return wrong(at, "has a path");
            }
            if self.peers[..at].contains(peer) {
                return wrong(at, "is there twice");
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_and_a_password_is_not_shown() {
        let mistake = |peers: &[&str]| {
            let peers = peers.iter().map(|peer| (*peer).to_owned()).collect();
            Fleet { peers, ..Fleet::default() }.mistake().map(|(_, reason)| reason)
        };
        assert_eq!(mistake(&["http://a:8080", "https://b.example:8443/", "http://[::1]:1"]), None);
        for (peers, words) in [
            (&["a:8080"][..], "address 1"),
            (&["http://a", "unix:x"], "address 2"),
            (&["http://user:secret@a"], "user or a password"),
            (&["http://a/v1"], "path"),
            (&["http://a", "http://a"], "twice"),
        ] {
            let reason = mistake(peers).expect("a mistake");
            assert!(reason.contains(words) && !reason.contains("secret"), "{reason}");
        }
    }
}
