//! A host by which requests may name the server.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A host by which requests may name the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostName {
    /// A name in small letters, without a port.
    Name(String),
    /// Every host.
    Any,
}

/// A text that is not a name of a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is not the name of a host; write it without scheme and port, for example \"infer.example.com\", or \"*\" for every \
     host",
    .0.escape_debug()
)]
pub struct InvalidHostName(String);

impl FromStr for HostName {
    type Err = InvalidHostName;

    fn from_str(text: &str) -> Result<Self, InvalidHostName> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if text.is_empty() || !text.bytes().all(is_part) || text.starts_with('.') {
            return Err(InvalidHostName(text.to_owned()));
        }
        Ok(Self::Name(text.trim_end_matches('.').to_ascii_lowercase()))
    }
}

impl Serialize for HostName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Name(name) => name,
            Self::Any => "*",
        })
    }
}

impl<'de> Deserialize<'de> for HostName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_neither_scheme_nor_port() {
        assert_eq!("Infer.Example.".parse(), Ok(HostName::Name("infer.example".into())));
        assert_eq!("*".parse(), Ok(HostName::Any));
        for wrong in ["", "a:80", "http://a", "*.a", "a b", ".a", "[::1]", "a/b"] {
            assert!(wrong.parse::<HostName>().is_err(), "{wrong}");
        }
    }
}
