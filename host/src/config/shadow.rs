//! A pipeline's `shadow`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::share::share;
use super::texts::{Share, share_text};

/// A pipeline's `shadow`: a chip that also computes a share of the requests, to compare its outputs.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShadowRules {
    /// The chip.
    pub chip: String,
    /// The part of the requests, from 0 to 1; written as `"1%"`.
    #[serde(deserialize_with = "share")]
    #[serde(serialize_with = "share_text")]
    #[schemars(with = "Share")]
    pub share: f64,
}

impl ShadowRules {
    /// Returns key and reason if a value is not valid.
    pub(super) fn mistake(&self) -> Option<(&'static str, &'static str)> {
        let is_valid = (0.0..=1.0).contains(&self.share);
        (!is_valid).then_some(("share", "must be from \"0%\" to \"100%\""))
    }
}
