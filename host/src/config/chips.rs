//! `[chips.NAME]`: a device of an execution provider, which models name as their `target`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use plimsoll_runtime::nn::{Chip, Device};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stage::text_of;
use super::texts::Scalar;

/// `[chips.NAME]`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChipSettings {
    /// The execution provider, for example `openvino` or `tensorrt`.
    pub provider: String,
    /// The library that has the provider, relative to the configuration file; default: the backend's own library.
    pub library: Option<PathBuf>,
    /// Which device of the provider; default: its only one.
    pub device: Option<String>,
    /// Options of the provider.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Scalar>")]
    pub options: BTreeMap<String, toml::Value>,
}

impl ChipSettings {
    /// The chip. A relative path starts at `folder`.
    pub fn chip(&self, name: &str, folder: &Path) -> Chip {
        Chip {
            name: name.to_owned(),
            provider: self.provider.clone(),
            library: self.library.as_ref().map(|library| folder.join(library)),
            device: self.device.clone(),
            options: self.options.iter().map(|(name, value)| (name.clone(), text_of(value))).collect(),
        }
    }

    /// Key and reason of the first setting that is not valid. The key is empty for the name.
    pub(super) fn mistake(&self, name: &str) -> Option<(String, String)> {
        if name.parse::<Device>().is_ok() {
            return Some((String::new(), format!("`{name}` is a target without a table; give the chip another name")));
        }
        if self.provider.is_empty() {
            return Some(("provider".into(), "must not be empty, for example \"openvino\"".into()));
        }
        if self.provider.chars().any(|c| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '.')) {
            let reason = format!("{:?} may have letters, digits, `_`, `-` and `.` only", self.provider);
            return Some(("provider".into(), reason));
        }
        not_scalar(&self.options).or_else(|| self.chooses_itself())
    }

    /// Key and reason of the first setting with which OpenVINO chooses the device itself: it may begin on the CPU, change to
    /// another device while it serves, and so answer with numbers that were not compared at the start.
    fn chooses_itself(&self) -> Option<(String, String)> {
        let (name, suffix) = self.provider.split_once('.').unwrap_or((&self.provider, ""));
        if !name.to_ascii_lowercase().starts_with("openvino") {
            return None;
        }
        let named = [("provider", Some(suffix)), ("device", self.device.as_deref())];
        let (key, device) =
            named.into_iter().find_map(|(key, device)| Some((key, device.filter(|it| is_virtual(it))?)))?;
        let reason = format!(
            "with `{device}` OpenVINO chooses the device itself and may change it while it serves, so that other numbers answer \
             than those that were compared at the start; name a device: CPU, GPU or NPU, each in a table of its own"
        );
        Some((key.into(), reason))
    }
}

/// Returns true for `AUTO`, `AUTO:GPU,CPU`, `MULTI:…`, with letters of either case.
fn is_virtual(device: &str) -> bool {
    let name = device.split([':', '(', '-']).next().unwrap_or_default().trim();
    ["AUTO", "MULTI"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Key and reason of the first option that is a table or a list.
pub(super) fn not_scalar(options: &BTreeMap<String, toml::Value>) -> Option<(String, String)> {
    let is_scalar = |value: &toml::Value| value.is_str() || value.is_integer() || value.is_float() || value.is_bool();
    let (name, _) = options.iter().find(|(_, value)| !is_scalar(value))?;
    Some((format!("options.{name}"), "must be a text, a number, `true` or `false`".into()))
}
