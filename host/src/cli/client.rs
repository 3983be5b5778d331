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
    /// The server as the user named it.
    server: String,
}

impl Client {
    /// Creates a client of a server: `http://HOST:PORT`, `https://…`, `HOST:PORT` or `unix:PATH`.
    ///
    /// # Errors
    /// If it is not an address, or this machine has no CA certificates for HTTPS.
    pub(in crate::cli) fn new(server: &str, timeout: Option<Duration>) -> Result<Self, Error> {
        let wrong = |why: &str| {
            Error::Failed(format!(
                "`{server}` is not the address of a server: {why}; write http://HOST:PORT or unix:PATH (--server)"
            ))
        };
        // A reply must not send the token of administration elsewhere.
        let mut builder = reqwest::Client::builder().redirect(Policy::none());
        if let Some(timeout) = timeout {
            builder = builder.timeout(timeout);
        }
        let (base, is_encrypted, is_local) = if let Some(path) = server.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(wrong("it has no path"));
            }
            builder = builder.unix_socket(Path::new(path)).no_proxy();
            ("http://localhost".to_owned(), false, true)
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
            (text.trim_end_matches('/').to_owned(), url.scheme() == "https", is_local)
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
        Ok(Self { http, is_local, base, server: server.to_owned() })
    }

    /// Returns true if the server is on this machine: it has an address of the loopback interface or a unix socket.
    pub(in crate::cli) fn is_local(&self) -> bool {
        self.is_local
    }

    /// The server as the user named it.
    pub(in crate::cli) fn server(&self) -> &str {
        &self.server
    }

    /// The server and a path, for messages.
    pub(in crate::cli) fn shown(&self, path: &str) -> String {
        match self.server.starts_with("unix:") {
            true => format!("{} ({path})", self.server),
            false => format!("{}{path}", self.base),
        }
    }

    /// Begins a request.
    pub(in crate::cli) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// Sends a request. Returns the reply with its whole body.
    ///
    /// # Errors
    /// If the server does not answer.
    pub(in crate::cli) async fn send(&self, request: RequestBuilder, path: &str) -> Result<Reply, Error> {
        let unreachable = |error: reqwest::Error| {
            let (shown, why) = (self.shown(path), innermost(&error));
            let why = if error.is_timeout() { "no reply in time".to_owned() } else { why };
            let message = format!("{shown} does not answer: {why}; set the address of the server with --server");
            if error.is_connect() {
                Error::Unreachable(message)
            } else if error.is_timeout() {
                Error::NoReply(message)
            } else {
                Error::Failed(message)
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

fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// The message of the innermost error; the others only say that there is one.
fn innermost(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).last().map(ToString::to_string).unwrap_or_default()
}
