//! `[backends.NAME]`: the settings of the libraries that run models.

use std::collections::HashMap;

use plimsoll_runtime::nn::{BackendName, BackendSettings};
use serde::{Deserialize, Serialize, Serializer};

/// The settings of each backend. Each backend defines its own settings.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
pub struct Backends(pub HashMap<BackendName, BackendSettings>);

impl Backends {
    /// The settings of a backend; null if there are none.
    pub fn of(&self, name: BackendName) -> BackendSettings {
        self.0.get(&name).cloned().unwrap_or_default()
    }
}

impl Serialize for Backends {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, settings)| (name.as_str(), settings)))
    }
}
