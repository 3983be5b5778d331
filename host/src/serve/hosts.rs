//! The hosts by which a request may name this server: the protection against DNS rebinding.
//!
//! A page of another site can let its own name point to an address of this machine. For a browser the page and the server
//! are then the same origin, so the page may read all replies that need no token or key. Only the name in the request tells
//! such a page from a user of the server. It cannot be forged: a browser sets it to the name of the page.
//!
//! A page can name the server neither by an IP address nor as `localhost`, because these are not its own name. A browser
//! does not accept the certificate of the server for the name of the page, and does not use HTTP/2 without encryption. So
//! both need no check, unless the configuration lists hosts.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::http::uri::Authority;
use axum::http::{Request, Version, header};
use plimsoll_runtime::text::shortened;

use super::error::{ErrorKind, ServeError};
use super::listener::Listener;
use crate::config::{HostName, Listen, ListenAddress};

/// Health is told under every name: the checks of load balancers use any, and the reply has nothing else. Over gRPC, too.
const HEALTH: [&str; 6] = [
    "/v2/health/live",
    "/v2/health/ready",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
];

/// The hosts by which the requests to one address may name the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hosts {
    /// Names in small letters, beside `localhost` and all IP addresses.
    names: Vec<String>,
    /// True if requests of every version are checked: the configuration has a list of hosts, which may be empty. False if
    /// only requests of HTTP/1 are checked, which a browser may have sent.
    checks_all: bool,
}

impl Hosts {
    /// The hosts of the requests to `listener`; `None` if every host is accepted. `configured` is `server.hosts`; the names
    /// in `addresses` are accepted too.
    pub(super) fn of<'a>(
        listener: &Listener,
        is_encrypted: bool,
        configured: Option<&[HostName]>,
        addresses: impl IntoIterator<Item = &'a Listen>,
    ) -> Option<Arc<Self>> {
        let Listener::Tcp(port) = listener else { return None };
        let is_loopback = port.local_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback());
        let checks_all = configured.is_some();
        let configured = match configured {
            Some(hosts) => hosts,
            None if is_loopback && !is_encrypted => &[],
            None => return None,
        };
        if configured.contains(&HostName::Any) {
            return None;
        }
        let names = configured.iter().filter_map(|host| match host {
            HostName::Name(name) => Some(name.clone()),
            HostName::Any => None,
        });
        let listened = addresses.into_iter().flat_map(|listen| &listen.0).filter_map(|address| match address {
            ListenAddress::Tcp { host, .. } => Some(host.to_ascii_lowercase()),
            ListenAddress::Unix(_) => None,
        });
        Some(Arc::new(Self { names: names.chain(listened).collect(), checks_all }))
    }

    /// Checks the host that a request names.
    ///
    /// # Errors
    /// If it is another one.
    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), ServeError> {
        let is_health = HEALTH.contains(&request.uri().path().trim_end_matches('/'));
        if is_health || (request.version() == Version::HTTP_2 && !self.checks_all) {
            return Ok(());
        }
        // The host of an address takes precedence over the header (RFC 9112, section 3.2.2).
        let authority = request.uri().authority().cloned();
        let header = || request.headers().get(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
        // Without a host the request is not from a browser.
        let Some(authority) = authority.or_else(header) else { return Ok(()) };
        if self.accepts(authority.host()) {
            return Ok(());
        }
        let host = shortened(authority.host());
        Err(ServeError::new(
            ErrorKind::MisdirectedRequest,
            format!(
                "`{host}` is not a known name of this server, so a page of another site may have sent the request; if it is \
                 a name of the server, for example the one that a reverse proxy sends, add it to `[server] hosts`"
            ),
        ))
    }

    fn accepts(&self, host: &str) -> bool {
        let is_ip = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(host) => host.parse::<Ipv6Addr>().is_ok(),
            None => host.parse::<IpAddr>().is_ok(),
        };
        let name = host.strip_suffix('.').unwrap_or(host);
        let is_named = || self.names.iter().any(|known| known.eq_ignore_ascii_case(name));
        is_ip || name.eq_ignore_ascii_case("localhost") || is_named()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn hosts(bind: &str, is_encrypted: bool, configured: Option<&[&str]>) -> Option<Arc<Hosts>> {
        let listener = Listener::from(TcpListener::bind(bind).await.expect("a free port"));
        let parse = |names: &[&str]| names.iter().map(|name| name.parse().expect("a name")).collect::<Vec<HostName>>();
        let configured = configured.map(parse);
        let listen = Listen(vec!["Box.local:0".parse().expect("an address")]);
        Hosts::of(&listener, is_encrypted, configured.as_deref(), [&listen])
    }

    #[tokio::test]
    async fn a_loopback_address_accepts_addresses_and_its_own_names() {
        let hosts = hosts("127.0.0.1:0", false, None).await.expect("checked");
        for accepted in
            ["localhost", "LocalHost", "localhost.", "127.0.0.1", "127.9.9.9", "[::1]", "10.0.0.1", "box.LOCAL"]
        {
            assert!(hosts.accepts(accepted), "{accepted}");
        }
        for refused in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "box",
            "[evil]",
            "0x7f.1",
            "2130706433",
        ] {
            assert!(!hosts.accepts(refused), "{refused}");
        }
    }

    #[tokio::test]
    async fn what_no_page_of_another_site_reaches_is_checked_only_if_the_configuration_lists_hosts() {
        assert_eq!(hosts("0.0.0.0:0", false, None).await, None, "a load balancer's names are not known");
        assert_eq!(hosts("127.0.0.1:0", true, None).await, None, "a page has no certificate");
        assert_eq!(hosts("127.0.0.1:0", false, Some(&["*"])).await, None);
        for (bind, is_encrypted) in [("127.0.0.1:0", false), ("0.0.0.0:0", true)] {
            assert!(hosts(bind, is_encrypted, Some(&[])).await.is_some_and(|hosts| hosts.checks_all), "an empty list");
        }
        let request = |version, host: &str| {
            let uri = format!("http://{host}/v2");
            Request::builder().version(version).uri(uri).body(()).expect("a request")
        };
        let listed = hosts("0.0.0.0:0", true, Some(&["Infer.example"])).await.expect("checked");
        for version in [Version::HTTP_11, Version::HTTP_2] {
            listed.check(&request(version, "infer.EXAMPLE:443")).expect("listed");
            listed.check(&request(version, "evil.example")).expect_err("not listed");
        }
        let loopback = hosts("127.0.0.1:0", false, None).await.expect("checked");
        loopback.check(&request(Version::HTTP_2, "evil.example")).expect("no browser sends this");
        loopback.check(&request(Version::HTTP_11, "evil.example")).expect_err("a browser may send this");
    }
}
