//! The addresses on which the server listens: host and port, or a unix socket.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The prefix of a unix socket's path.
const UNIX: &str = "unix:";

/// One or more addresses: in the file a text, or a list of texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen(pub Vec<ListenAddress>);

/// An address on which the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// A port of an IP address, or of every address of a host name.
    Tcp {
        /// The IP address (without brackets) or the host name.
        host: String,
        /// The port; 0 selects a free one.
        port: u16,
    },
    /// The path of a unix socket.
    Unix(PathBuf),
}

impl Listen {
    /// The same addresses; `resolve` gets the relative paths of unix sockets.
    #[must_use]
    pub fn resolved(&self, resolve: impl Fn(&Path) -> PathBuf) -> Self {
        let resolve = |address: &ListenAddress| match address {
            ListenAddress::Unix(path) if path.is_relative() => ListenAddress::Unix(resolve(path)),
            other => other.clone(),
        };
        Self(self.0.iter().map(resolve).collect())
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self(vec![ListenAddress::Tcp { host: address.ip().to_string(), port: address.port() }])
    }
}

/// A text that is not a valid address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` {why}; write HOST:PORT, for example 127.0.0.1:8080, or unix:PATH", text.escape_debug())]
pub struct InvalidAddress {
    text: String,
    why: &'static str,
}

impl FromStr for ListenAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let wrong = |why| InvalidAddress { text: text.to_owned(), why };
        if let Some(path) = text.strip_prefix(UNIX) {
            // `unix:///run/a.sock` is the same as `unix:/run/a.sock`; gRPC clients use both.
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.contains('\0') {
                return Err(wrong("has no path"));
            }
            return Ok(Self::Unix(path.into()));
        }
        if text.contains('/') {
            return Err(wrong("is not an address"));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("has no port"))?;
        // `parse` alone accepts a plus sign.
        let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| is_number).ok_or_else(|| wrong("has no port from 0 to 65535"))?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(host) if host.parse().is_ok_and(|ip: IpAddr| ip.is_ipv6()) => host,
            Some(_) => return Err(wrong("has no IPv6 address in the brackets")),
            None if host.contains(':') => {
                return Err(wrong("needs brackets around the IPv6 address, as in [::1]:8080"));
            }
            None if host.is_empty() => return Err(wrong("has no host; 0.0.0.0 is every IPv4 address")),
            None if host.contains(|it: char| it.is_whitespace() || it.is_control()) => {
                return Err(wrong("has no valid host"));
            }
            None => host,
        };
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [address] => serializer.collect_str(address),
            addresses => serializer.collect_seq(addresses.iter().map(ToString::to_string)),
        }
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Addresses;

        impl<'de> de::Visitor<'de> for Addresses {
            type Value = Listen;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address such as \"127.0.0.1:8080\" or \"unix:PATH\", or a list of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Listen, E> {
                Ok(Listen(vec![text.parse().map_err(E::custom)?]))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Listen, A::Error> {
                let mut addresses = Vec::new();
                while let Some(address) = items.next_element()? {
                    addresses.push(address);
                }
                if addresses.is_empty() {
                    return Err(de::Error::custom("there is no address in the list"));
                }
                Ok(Listen(addresses))
            }
        }

        deserializer.deserialize_any(Addresses)
    }
}
