//! The client of a request: its address, and its name if it has a key.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue};

use super::listener::Peer;
use crate::records::Origin;

/// The client of a request. It is in the extensions of the request.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// The address; `None` if the request came over a unix socket.
    pub address: Peer,
    /// The name of its key; `None` if callers need no key.
    pub name: Option<Arc<str>>,
}

impl Client {
    /// The client of a request with these extensions.
    pub fn from_extensions(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_default()
    }

    /// Where a request of this client came from, for the log.
    pub fn origin(&self, method: &'static str, route: &'static str) -> Origin {
        Origin { method, route, client: self.address }
    }

    /// The caller of the request: the name of its key, or else the value of the configured header.
    pub fn caller<'a>(&'a self, headers: &'a HeaderMap, header: &HeaderName) -> Option<&'a [u8]> {
        match &self.name {
            Some(name) => Some(name.as_bytes()),
            None => headers.get(header).map(HeaderValue::as_bytes),
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => address.fmt(f),
            None => f.write_str("unix"),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::from_extensions(&parts.extensions))
    }
}
