//! The tables that say how plugins come and go: `[deploy]`, `[admin]`, `plugins` and a pipeline's `canary`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::Plugin;

/// `[deploy]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deploy {
    /// Previous versions of each plugin that stay ready for a rollback.
    pub keep: usize,
    /// How often folders are looked at, for file systems that send no events.
    #[serde(with = "humantime_serde")]
    pub poll: Duration,
    /// The largest component that is taken.
    pub max_plugin: ByteSize,
    /// Bytes of compiled code that the cache keeps; the least recently used go first.
    pub max_cache: ByteSize,
}

impl Default for Deploy {
    fn default() -> Self {
        Self {
            keep: 3,
            poll: Duration::from_secs(2),
            // Components that carry an interpreter of Python have about 40 MiB.
            max_plugin: ByteSize::mib(128),
            max_cache: ByteSize::gib(2),
        }
    }
}

/// `[admin]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// The file that holds the bearer token of the administration routes; else the variable `PLIMSOLL_ADMIN_TOKEN`.
    pub token_file: Option<PathBuf>,
}

/// A pipeline's `canary`: a share such as `"5%"`, or a table that has the rules of the decision too.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// The part of the requests that the new version gets, from 0 to 0.5; written as `"5%"`.
    #[serde(deserialize_with = "share")]
    pub share: f64,
    /// Requests of the new version after which it is promoted; default 1,000.
    #[serde(default = "Canary::default_requests")]
    pub requests: u64,
    /// How many times the old version's rate of traps, memory limits and passed deadlines is too much; default 2.
    #[serde(default = "Canary::default_failure_factor")]
    pub failure_factor: f64,
    /// How many times the old version's p99 high-water mark is too much; default 1.5.
    #[serde(default = "Canary::default_memory_factor")]
    pub memory_factor: f64,
}

impl Canary {
    fn default_requests() -> u64 {
        1_000
    }

    fn default_failure_factor() -> f64 {
        2.0
    }

    fn default_memory_factor() -> f64 {
        1.5
    }

    /// Numbers that parse but cannot work.
    pub(super) fn mistake(&self) -> Option<&'static str> {
        if !(self.share > 0.0 && self.share <= 0.5) {
            return Some("the share must be above 0% and at most 50%: the old version is what the new one is held to");
        }
        if self.requests == 0 {
            return Some("`requests` must be at least 1");
        }
        let factors = [self.failure_factor, self.memory_factor];
        factors.iter().any(|factor| !(factor.is_finite() && *factor >= 1.0)).then_some("factors must be 1 or more")
    }
}

/// Reads `"5%"`.
fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    parse_share(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

fn parse_share(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    number.map(|percent| percent / 100.0).ok_or_else(|| format!("`{text}` is no share; write it as \"5%\""))
}

/// Reads `canary = "5%"` or `canary = { share = "5%", … }`.
pub(super) fn canary<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Canary>, D::Error> {
    struct Either;
    impl<'de> Visitor<'de> for Either {
        type Value = Canary;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a share such as \"5%\", or a table with `share`")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Canary, E> {
            Ok(Canary {
                share: parse_share(text).map_err(E::custom)?,
                requests: Canary::default_requests(),
                failure_factor: Canary::default_failure_factor(),
                memory_factor: Canary::default_memory_factor(),
            })
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Canary, A::Error> {
            Canary::deserialize(MapAccessDeserializer::new(map))
        }
    }
    deserializer.deserialize_any(Either).map(Some)
}

/// Reads `[plugins.NAME]` tables, or `plugins = ["oci://…"]`: each under the last segment of its repository.
pub(super) fn plugins<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Plugin>, D::Error> {
    struct Either;
    impl<'de> Visitor<'de> for Either {
        type Value = BTreeMap<String, Plugin>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("tables `[plugins.NAME]`, or a list of `oci://` references")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut plugins = BTreeMap::new();
            while let Some(text) = items.next_element::<String>()? {
                let reference: crate::plugin::oci::OciReference = text.parse().map_err(A::Error::custom)?;
                let name = reference.plugin_name().to_owned();
                let plugin = Plugin { file: Some(PathBuf::from(&text)), ..Plugin::default() };
                if plugins.insert(name.clone(), plugin).is_some() {
                    return Err(A::Error::custom(format!("two references give the plugin `{name}`")));
                }
            }
            Ok(plugins)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            BTreeMap::deserialize(MapAccessDeserializer::new(map))
        }
    }
    deserializer.deserialize_any(Either)
}
