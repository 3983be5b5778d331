//! Log lines about slow steps: a first start compiles every plugin, which takes seconds to minutes.

use std::sync::{Mutex, PoisonError};

use plimsoll_runtime::identity::Identity;

use crate::base::telemetry;
use crate::config::Config;

/// Says what is compiled. During the start it also says how much is left.
#[derive(Debug, Default)]
pub struct BuildProgress {
    /// The plugins of the start in the order in which they are built. Empty after the start.
    start: Mutex<Vec<String>>,
}

impl BuildProgress {
    /// Notes that the start has begun, which builds every plugin of the configuration.
    pub fn begin_start(&self, config: &Config) {
        let mut plugins: Vec<String> = Vec::new();
        for pipeline in config.pipelines.values() {
            for (_, stage) in pipeline.stages() {
                if !plugins.contains(&stage.plugin) {
                    plugins.push(stage.plugin.clone());
                }
            }
        }
        *self.start.lock().unwrap_or_else(PoisonError::into_inner) = plugins;
    }

    /// Ends the start.
    pub fn end_start(&self) {
        self.start.lock().unwrap_or_else(PoisonError::into_inner).clear();
        telemetry::clear_status();
    }

    /// Says that a component is compiled, because the cache does not have it.
    pub fn compiling(&self, identity: &Identity) {
        let start = self.start.lock().unwrap_or_else(PoisonError::into_inner);
        let name = &identity.name;
        match start.iter().position(|plugin| **plugin == **name) {
            // One line that is rewritten, instead of one for each plugin.
            Some(at) if telemetry::has_status() => {
                telemetry::show_status(&format!("compiling {name} ({} of {}) …", at + 1, start.len()));
            }
            Some(at) => tracing::info!("compiling {name} ({} of {}) …", at + 1, start.len()),
            None => tracing::info!("compiling {name} …"),
        }
    }
}
