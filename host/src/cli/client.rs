//! The HTTP client of the commands that talk to a running server.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, Response, Url};

use super::error::Error;

/// A client of one server.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Client {
    http: reqwest::Client,
    is_local: bool,
    /// The part of every URL before the path.
    base: String,
    /// The same without a password, for messages.
    shown: String,
    /// The server as the user named it, without a password.
    server: String,
    /// The same for every way to write its address.
    identity: String,
}

impl Client {
    /// Creates a client of a server: `http://HOST:PORT`, `https://…`, `HOST:PORT` or `unix:PATH`.
    ///
    /// # Errors
    /// If it is not an address, or this machine has no CA certificates for HTTPS.
    pub(in crate::cli) fn new(server: &str, timeout: Option<Duration>) -> Result<Self, Error> {
        let wrong = |why: &str| {
            // What stands before `@` may be a password.
            let server = match server.rsplit_once('@') {
                Some((_, host)) => format!("…@{host}"),
                None => server.to_owned(),
            };
            Error::Failed(format!(
                "`{server}` is not the address of a server: {why}; write http://HOST:PORT or unix:PATH (--server)"
            ))
        };
        // A reply must not send the token of administration elsewhere.
        let mut builder = reqwest::Client::builder().redirect(Policy::none());
        if let Some(timeout) = timeout {
            builder = builder.timeout(timeout);
        }
        let (base, shown, identity, is_encrypted, is_local) = if let Some(path) = server.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(wrong("it has no path"));
            }
            builder = builder.unix_socket(Path::new(path)).no_proxy();
            let base = "http://localhost".to_owned();
            (base.clone(), base, format!("unix:{path}"), false, true)
        } else {
            let text = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
            let url: Url = text.parse().map_err(|error| wrong(&format!("{error}")))?;
            if !matches!(url.scheme(), "http" | "https") {
                return Err(wrong("only http and https are supported"));
            }
            let is_local = is_local(&url);
            if is_local {
                // A proxy would connect to its own machine instead of this one.
                builder = builder.no_proxy();
            }
            let shown = without_password(&text, &url);
            let base = text.trim_end_matches('/').to_owned();
            (base, shown.trim_end_matches('/').to_owned(), identity(&url), url.scheme() == "https", is_local)
        };
        if !is_encrypted {
            // The certificates of the system are not read. Otherwise a machine without any could not use HTTP either.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| {
            let why = innermost(&error);
            Error::Failed(match is_encrypted {
                true => format!(
                    "{server} needs CA certificates, and this machine has none that can be used ({why}): install the \
                     package `ca-certificates`, or name a file of certificates in the variable SSL_CERT_FILE"
                ),
                false => format!("the HTTP client cannot be created: {why}"),
            })
        })?;
        let named = if base == shown { server.to_owned() } else { shown.clone() };
        Ok(Self { http, is_local, base, shown, server: named, identity })
    }

    /// Returns true if the server is on this machine: it has an address of the loopback interface or a unix socket.
    pub(in crate::cli) fn is_local(&self) -> bool {
        self.is_local
    }

    /// Returns true if this is the same server, perhaps by another name.
    pub(in crate::cli) fn is_same(&self, other: &Self) -> bool {
        self.identity == other.identity
    }

    /// The server as the user named it, without a password.
    pub(in crate::cli) fn server(&self) -> &str {
        &self.server
    }

    /// The server and a path, for messages.
    pub(in crate::cli) fn shown(&self, path: &str) -> String {
        match self.server.starts_with("unix:") {
            true => format!("{} ({path})", self.server),
            false => format!("{}{path}", self.shown),
        }
    }

    /// Begins a request.
    pub(in crate::cli) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// Sends a request. Returns the reply with its whole body.
    ///
    /// # Errors
    /// If the server does not answer. [`Error::NoReply`] if it may have got the request.
    pub(in crate::cli) async fn send(&self, request: RequestBuilder, path: &str) -> Result<Reply, Error> {
        let unreachable = |error: reqwest::Error| {
            let (shown, why) = (self.shown(path), innermost(&error));
            let why = if error.is_timeout() { "no reply in time".to_owned() } else { why };
            let message = format!("{shown} does not answer: {why}; set the address of the server with --server");
            if error.is_connect() {
                Error::Unreachable(message)
            } else if error.is_builder() {
                Error::Failed(message)
            } else {
                // Too late, or the connection was cut: the server may have got the whole request.
                Error::NoReply(message)
            }
        };
        let response: Response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        Ok(Reply { status, text: response.text().await.map_err(unreachable)? })
    }
}

/// A reply with its whole body.
#[derive(Debug)]
pub(in crate::cli) struct Reply {
    pub(in crate::cli) status: reqwest::StatusCode,
    pub(in crate::cli) text: String,
}

/// The address with its default port, and with one name for this machine.
fn identity(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
    let host = if matches!(host.as_str(), "localhost" | "[::1]") { "127.0.0.1".to_owned() } else { host };
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}://{host}:{port}{}", url.scheme(), url.path().trim_end_matches('/'))
}

/// The text of an address, with `***` for a password.
fn without_password(text: &str, url: &Url) -> String {
    match url.password() {
        None => text.to_owned(),
        Some(_) => {
            let mut url = url.clone();
            // An address of HTTP can have one.
            let _ = url.set_password(Some("***"));
            url.to_string()
        }
    }
}

fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// The message of the innermost error; the others only say that there is one.
fn innermost(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_the_same_by_every_name_and_its_password_is_not_shown() {
        let client = |server: &str| Client::new(server, None).expect("an address");
        for name in ["127.0.0.1:7702", "http://localhost:7702/", "HTTP://LOCALHOST:7702", "http://[::1]:7702"] {
            assert!(client("http://127.0.0.1:7702").is_same(&client(name)), "{name}");
        }
        for name in ["127.0.0.1:7703", "http://a:7702", "http://127.0.0.1:7702/x"] {
            assert!(!client("http://127.0.0.1:7702").is_same(&client(name)), "{name}");
        }
        assert!(client("http://a").is_same(&client("a:80")));
        let secret = client("http://me:hunter2@a:8080");
        for shown in [secret.server().to_owned(), secret.shown("/v1/memory")] {
            assert!(shown.starts_with("http://me:***@a:8080") && !shown.contains("hunter2"), "{shown}");
        }
        let wrong = Client::new("ftp://me:hunter2@a", None).expect_err("not HTTP").to_string();
        assert!(!wrong.contains("hunter2"), "{wrong}");
    }
}
