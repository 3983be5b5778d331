//! `[backends.NAME]`: the settings of the libraries that run models.

use std::collections::HashMap;

use plimsoll_runtime::nn::{BackendName, BackendSettings};
use serde::Deserialize;

/// The settings of each backend. Each backend defines its own settings.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
pub struct Backends(pub HashMap<BackendName, BackendSettings>);

impl Backends {
    /// The settings of a backend; null if there are none.
    pub fn of(&self, name: BackendName) -> BackendSettings {
        self.0.get(&name).cloned().unwrap_or_default()
    }
}
