//! The query parameters of a request. A parameter that a route does not have, or that is given twice, is refused:
//! otherwise a typing error would silently change what the request means.

use std::borrow::Cow;

use axum::extract::FromRequestParts;
use axum::extract::Path;
use axum::http::request::Parts;
use axum::response::Response;
use plimsoll_runtime::text::shortened;

use super::oip::error::error_reply;
use crate::base::nearest::nearest;
use crate::serve::error::{ErrorKind, ServeError};

/// The query parameters, decoded, in the order of the URL.
#[derive(Debug)]
pub(super) struct Parameters(pub(super) Vec<(String, String)>);

impl Parameters {
    /// Returns the values of the route's parameters.
    ///
    /// # Errors
    /// If a parameter is unknown, or is given twice.
    pub(super) fn named<const N: usize>(self, names: [&str; N]) -> Result<[Option<String>; N], ServeError> {
        let mut values = [const { None }; N];
        for (name, value) in self.0 {
            let Some(at) = names.iter().position(|known| *known == name) else {
                return Err(unknown(&name, &names));
            };
            if values[at].replace(value).is_some() {
                return Err(twice(&name));
            }
        }
        Ok(values)
    }

    /// Refuses all parameters.
    ///
    /// # Errors
    /// If there is one.
    pub(super) fn none(self) -> Result<(), ServeError> {
        self.named([]).map(|[]| ())
    }

    /// Checks the one parameter of a route that passes all others on: it may be given once, and only as it is written.
    ///
    /// # Errors
    /// If it is given twice, or in capital letters.
    pub(super) fn check_own(self, own: &str) -> Result<Vec<(String, String)>, ServeError> {
        let like_own = || self.0.iter().map(|(name, _)| name).filter(|name| name.eq_ignore_ascii_case(own));
        if let Some(name) = like_own().find(|name| *name != own) {
            return Err(unknown(name, &[own]));
        }
        match like_own().nth(1) {
            Some(name) => Err(twice(name)),
            None => Ok(self.0),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = ServeError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ServeError> {
        read(parts.uri.query()).map(Self)
    }
}

/// Refuses a request with query parameters, for routes that have none.
#[derive(Debug)]
pub(super) struct NoParameters;

impl<S: Sync> FromRequestParts<S> for NoParameters {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let checked = read(parts.uri.query()).and_then(|given| Parameters(given).none());
        checked.map(|()| Self).map_err(|error| error_reply(parts.uri.path(), error))
    }
}

/// The plugin in the path of a route.
#[derive(Debug)]
pub(super) struct PluginName(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for PluginName {
    type Rejection = ServeError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ServeError> {
        let name = Path::from_request_parts(parts, state).await;
        let Path(name) = name.map_err(|_| ServeError::not_found("the plugin name is not valid UTF-8"))?;
        Ok(Self(name))
    }
}

fn read(query: Option<&str>) -> Result<Vec<(String, String)>, ServeError> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let decoded = |text| {
        decode(text).map(Cow::into_owned).ok_or_else(|| {
            let pair = shortened(text);
            wrong(format!("`{pair}` in the query is not valid percent-encoding of UTF-8; write a `%` as `%25`"))
        })
    };
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded(name)?, decoded(value)?))
        })
        .collect()
}

/// Decodes a part of a query (`application/x-www-form-urlencoded`). `None` if it is malformed.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(text.into());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? << 4 | digit()?).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

fn unknown(name: &str, known: &[&str]) -> ServeError {
    let meant = nearest(name, known.iter().copied());
    let name = shortened(name);
    let hint = match (meant, known) {
        (Some(meant), _) => format!("did you mean `{meant}`?"),
        (None, []) => "it has none".to_owned(),
        (None, known) => format!("it has `{}`", known.join("`, `")),
    };
    wrong(format!("this route has no parameter `{name}`; {hint}"))
}

fn twice(name: &str) -> ServeError {
    wrong(format!("the parameter `{name}` is given twice"))
}

/// A parameter whose value is not valid.
pub(super) fn wrong(detail: impl Into<String>) -> ServeError {
    ServeError::new(ErrorKind::InvalidParameter, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_strictly() {
        let pairs = |query| read(Some(query)).ok();
        let owned = |pairs: &[(&str, &str)]| {
            Some(pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>())
        };
        assert_eq!(pairs(""), owned(&[]));
        assert_eq!(pairs("a=1&&b&c=x=y&"), owned(&[("a", "1"), ("b", ""), ("c", "x=y")]));
        assert_eq!(pairs("a%20b=1+2%2B3&%C3%A9=%26"), owned(&[("a b", "1 2+3"), ("é", "&")]));
        for malformed in ["a=%", "a=%1", "a=%zz", "%FF=1", "a=%+1"] {
            assert_eq!(pairs(malformed), None, "{malformed}");
        }
    }
}
