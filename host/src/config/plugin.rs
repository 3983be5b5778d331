//! `[plugins.NAME]`, or `plugins = ["oci://…"]`: the sources of plugins, and their default limits.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::texts::{Size, Time, optional_size};
use crate::base::object::tables;
use crate::base::oci::OciReference;

/// `[plugins.NAME]`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plugin {
    /// The component's file, or an `oci://` reference; default `<name>.wasm` or `<name>@<version>.wasm` in the
    /// plugin folder, then the bundled plugins.
    pub file: Option<PathBuf>,
    /// Default cap for stages of this plugin.
    #[serde(serialize_with = "optional_size")]
    #[schemars(with = "Option<Size>")]
    pub max_memory: Option<ByteSize>,
    /// Maximum time of `lifecycle.init`, which runs once at deployment; default 30 s.
    #[serde(default, with = "humantime_serde")]
    #[schemars(with = "Option<Time>")]
    pub init_deadline: Option<Duration>,
    /// Default deadline for stages of this plugin.
    #[serde(default, with = "humantime_serde")]
    #[schemars(with = "Option<Time>")]
    pub deadline: Option<Duration>,
}

/// How plugins are written.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) enum PluginsForm {
    /// References to registries.
    References(Vec<String>),
    /// Tables by name.
    Tables(BTreeMap<String, Plugin>),
}

/// Reads `[plugins.NAME]` tables, or `plugins = ["oci://…"]`. The name of a plugin from a reference is the last segment
/// of its repository.
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
                let reference: OciReference = text.parse().map_err(A::Error::custom)?;
                let name = reference.plugin_name().to_owned();
                let plugin = Plugin { file: Some(PathBuf::from(&text)), ..Plugin::default() };
                if plugins.insert(name.clone(), plugin).is_some() {
                    return Err(A::Error::custom(format!("two references have the plugin name `{name}`")));
                }
            }
            Ok(plugins)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            tables(MapAccessDeserializer::new(map))
        }
    }
    deserializer.deserialize_any(Either)
}
