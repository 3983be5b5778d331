//! `[auth]`: the keys of callers.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[auth]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// The file with the names of callers and the hashes of their keys. Without it callers need no key.
    pub keys_file: Option<PathBuf>,
}
