//! The plugins that a configuration needs, and where they come from.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::{self, Config};

/// The plugins that the configuration's pipelines use, each with the names of these pipelines.
pub fn needed(config: &Config) -> BTreeMap<&str, Vec<String>> {
    let mut needed: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, pipeline) in &config.pipelines {
        for plugin in pipeline.plugins() {
            let users = needed.entry(plugin).or_default();
            if users.last() != Some(name) {
                users.push(name.clone());
            }
        }
    }
    needed
}

/// Returns true if a pipeline of the configuration uses a plugin.
pub fn is_needed(config: &Config, plugin: &str) -> bool {
    config.pipelines.values().any(|pipeline| pipeline.uses(plugin))
}

/// The pipelines of the configuration that use a plugin.
pub fn users_of(config: &Config, plugin: &str) -> Vec<String> {
    let users = config.pipelines.iter().filter(|(_, pipeline)| pipeline.uses(plugin));
    users.map(|(name, _)| name.clone()).collect()
}

/// The pipelines that use a plugin, also those that are unloaded: they must find it when they are loaded again.
pub fn users(config: &Config, unloaded: &BTreeMap<String, config::Pipeline>, plugin: &str) -> Vec<String> {
    let pipelines = config.pipelines.iter().chain(unloaded);
    pipelines.filter(|(_, pipeline)| pipeline.uses(plugin)).map(|(name, _)| name.clone()).collect()
}

/// The file or reference of a plugin, if the configuration names one.
pub fn declared<'a>(config: &'a Config, name: &str) -> Option<&'a Path> {
    config.plugins.get(name).and_then(|plugin| plugin.file.as_deref())
}
