//! A share of the requests: a percentage such as `"5%"`.

use serde::Deserialize;
use serde::de::{Deserializer, Error};

/// Reads `"5%"`.
pub(super) fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    parse_share(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// As [`share`], for a key that may be missing.
pub(super) fn optional_share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    share(deserializer).map(Some)
}

/// A text that is not a valid share.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a valid share; write it as a percentage such as \"5%\"")]
pub(super) struct InvalidShare(String);

/// The part of the requests: 0.05 for `5%`. It may be any number.
pub(super) fn parse_share(text: &str) -> Result<f64, InvalidShare> {
    let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    number.map(|percent| percent / 100.0).ok_or_else(|| InvalidShare(text.to_owned()))
}
