//! Authorization of administration requests. They need the bearer token (RFC 6750). If no token is set and the server
//! listens on the loopback interface only, all local users may administrate.

use std::fmt;

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::error::{ErrorKind, ServeError};
use crate::config::{Config, ConfigError, Server};

const TOKEN_VARIABLE: &str = "PLIMSOLL_ADMIN_TOKEN";
/// Minimum characters of a token, because a shorter one could be guessed.
const MIN_TOKEN: usize = 16;

/// The requests that may administrate over HTTP and gRPC.
pub enum Access {
    /// Requests with the token; this is its SHA-256.
    Token([u8; 32]),
    /// All local users, because the server listens on the loopback interface and no token is set.
    Loopback,
    /// No request, because no token is set and the port can be reached from other machines.
    Closed,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "administration: open to requests with the bearer token",
            Self::Loopback => {
                "administration: open to all local users because no token is set (set `[admin] token_file`)"
            }
            Self::Closed => {
                "administration: closed because no token is set (`admin.token_file` or the variable \
                 PLIMSOLL_ADMIN_TOKEN) and the server does not listen on the loopback interface only"
            }
        })
    }
}

impl Access {
    /// Reads the token from the configured file or from the environment variable `PLIMSOLL_ADMIN_TOKEN`.
    ///
    /// # Errors
    /// If the file cannot be read, or the token is too short.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        let failed = |reason: String| ConfigError::new(&config.path, "admin.token_file", reason);
        let token = match &config.admin.token_file {
            Some(path) => {
                Some(String::from_utf8(config.read(path).map_err(failed)?).map_err(|error| failed(error.to_string()))?)
            }
            None => std::env::var(TOKEN_VARIABLE).ok(),
        };
        match token.as_deref().map(str::trim) {
            Some(token) if token.len() < MIN_TOKEN => Err(failed(format!(
                "the administration token has fewer than {MIN_TOKEN} characters, so it can be guessed"
            ))),
            Some(token) => Ok(Self::Token(Sha256::digest(token).into())),
            None if listens_on_loopback_only(&config.server) => Ok(Self::Loopback),
            None => Ok(Self::Closed),
        }
    }

    /// Checks that a request may administrate. Returns its origin for the audit log: `token` or `loopback`.
    ///
    /// # Errors
    /// If the request may not administrate.
    pub fn check(&self, headers: &HeaderMap) -> Result<&'static str, ServeError> {
        let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        match self {
            Self::Token(expected) => {
                let given = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
                let digest: [u8; 32] = Sha256::digest(given.unwrap_or_default().trim()).into();
                // The digests are compared in constant time, so that the time reveals nothing about the token.
                if given.is_some() && bool::from(digest.ct_eq(expected)) {
                    return Ok("token");
                }
                let detail = "this route needs the header `Authorization: Bearer TOKEN` with the administration token";
                Err(ServeError::new(ErrorKind::Unauthorized, detail))
            }
            Self::Loopback => {
                // A web page in a browser on this machine can send requests here, too. They have an `Origin`, or the
                // `Host` of the web page.
                let host = text(header::HOST).map_or("", |host| host.rsplit_once(':').map_or(host, |(host, _)| host));
                let local = host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(is_loopback);
                if headers.contains_key(header::ORIGIN) || !local {
                    let detail = "without a token, this route is only for `localhost` and not for web pages";
                    return Err(ServeError::new(ErrorKind::Forbidden, detail));
                }
                Ok("loopback")
            }
            Self::Closed => Err(ServeError::not_found(self.to_string())),
        }
    }
}

fn listens_on_loopback_only(server: &Server) -> bool {
    server.listen.ip().is_loopback() && server.grpc_listen.is_none_or(|grpc| grpc.ip().is_loopback())
}

fn is_loopback(address: std::net::IpAddr) -> bool {
    address.is_loopback()
}
