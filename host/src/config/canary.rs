//! A pipeline's `canary`.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::share::{parse_share, share};
use super::texts::{Share, share_text};

/// A pipeline's `canary`: a share such as `"5%"`, or a table that also has the rules of the decision.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryRules {
    /// The part of the requests that the new version gets, from 0 to 0.5; written as `"5%"`.
    #[serde(deserialize_with = "share")]
    #[serde(serialize_with = "share_text")]
    #[schemars(with = "Share")]
    pub share: f64,
    /// Requests of the new version after which it is promoted; default 1,000.
    #[serde(default = "CanaryRules::default_requests")]
    pub requests: u64,
    /// A new version is rolled back if its rate of traps, memory limits and passed deadlines is more than this many
    /// times the old version's; default 2.
    #[serde(default = "CanaryRules::default_failure_factor")]
    pub failure_factor: f64,
    /// A new version is rolled back if its p99 high-water mark is more than this many times the old version's; default
    /// 1.5.
    #[serde(default = "CanaryRules::default_memory_factor")]
    pub memory_factor: f64,
    /// What decides which version a request gets; default the request.
    #[serde(default)]
    pub by: CanaryBy,
}

/// What decides which version a request gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CanaryBy {
    /// Each request is selected at random.
    #[default]
    Request,
    /// All requests of a caller get the same version. Requests without a caller are selected at random.
    Caller,
}

/// How a canary is written.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) enum CanaryForm {
    /// Only the share.
    Share(Share),
    /// The share and the rules of the decision.
    Rules(CanaryRules),
}

impl CanaryRules {
    fn default_requests() -> u64 {
        1_000
    }

    fn default_failure_factor() -> f64 {
        2.0
    }

    fn default_memory_factor() -> f64 {
        1.5
    }

    /// Returns an error message for the first number that is out of range.
    pub(super) fn mistake(&self) -> Option<&'static str> {
        if !(self.share > 0.0 && self.share <= 0.5) {
            return Some("the share must be above 0% and at most 50%, because the old version is the reference");
        }
        if self.requests == 0 {
            return Some("`requests` must be at least 1");
        }
        let factors = [self.failure_factor, self.memory_factor];
        factors.iter().any(|factor| !(factor.is_finite() && *factor >= 1.0)).then_some("the factors must be at least 1")
    }
}

/// Reads `canary = "5%"` or `canary = { share = "5%", … }`.
pub(super) fn canary<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<CanaryRules>, D::Error> {
    struct Either;
    impl<'de> Visitor<'de> for Either {
        type Value = CanaryRules;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a share such as \"5%\", or a table with `share`")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<CanaryRules, E> {
            Ok(CanaryRules {
                share: parse_share(text).map_err(E::custom)?,
                requests: CanaryRules::default_requests(),
                failure_factor: CanaryRules::default_failure_factor(),
                memory_factor: CanaryRules::default_memory_factor(),
                by: CanaryBy::default(),
            })
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CanaryRules, A::Error> {
            CanaryRules::deserialize(MapAccessDeserializer::new(map))
        }
    }
    deserializer.deserialize_any(Either).map(Some)
}
