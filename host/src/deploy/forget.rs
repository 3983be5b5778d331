//! Forgets what is gone: files that were removed, plugins of which nothing is left, and the series of their versions.
//! Without this, memory, metrics and journal would grow with every deployment.

use std::collections::BTreeSet;

use super::catalog::{Catalog, CatalogEntry};
use super::deployer::Deployer;
use super::folder_look::Look;
use super::release::ReleaseSource;
use super::serving::Serving;

/// Maximum number of plugins that were rejected over HTTP and have no other version. The latest stay.
const MAX_REJECTED_PLUGINS: usize = 20;

impl Deployer {
    /// Forgets what a look at the plugin folder no longer finds.
    pub(super) fn forget_gone(&self, serving: &Serving, look: &Look) {
        let references: BTreeSet<_> =
            self.config.plugins.values().filter_map(|plugin| plugin.file.as_deref()?.to_str()).collect();
        let mut is_changed = false;
        {
            let mut plugins = serving.catalog();
            for plugin in plugins.values_mut() {
                is_changed |=
                    plugin.forget_gone(|path| look.is_gone(path), |reference| !references.contains(reference));
            }
            forget_rejected(&mut plugins);
            plugins.retain(|name, plugin| {
                if plugin.is_empty() {
                    serving.records.metrics.remove_plugin(name);
                }
                !plugin.is_empty()
            });
        }
        match is_changed {
            true => self.write_journal(serving),
            // A request that began before a change may have ended now.
            false => self.forget_series(serving),
        }
    }

    /// Forgets the series of versions that can no longer run.
    pub(super) fn forget_series(&self, serving: &Serving) {
        let known: BTreeSet<_> = {
            let plugins = serving.catalog();
            let identities = plugins.values().flat_map(CatalogEntry::identities);
            identities.map(|identity| (identity.name.clone(), identity.digest.clone())).collect()
        };
        serving.records.memory.retain(|it| known.contains(&(it.name.clone(), it.digest.clone())));
    }
}

/// Limits the plugins of which there are only versions that were rejected over HTTP.
fn forget_rejected(plugins: &mut Catalog) {
    let is_only_rejected = |plugin: &CatalogEntry| {
        let is_http = |source: &str| ReleaseSource::parse(source) == ReleaseSource::Http;
        plugin.identities().next().is_none() && plugin.rejected.iter().all(|rejected| is_http(&rejected.source))
    };
    let rejected = plugins.iter().filter(|(_, plugin)| is_only_rejected(plugin));
    let mut rejected: Vec<_> =
        rejected.filter_map(|(name, plugin)| Some((plugin.rejected.front()?.at, name.clone()))).collect();
    rejected.sort();
    let many = rejected.len().saturating_sub(MAX_REJECTED_PLUGINS);
    for (_, name) in &rejected[..many] {
        if let Some(plugin) = plugins.get_mut(name) {
            plugin.rejected.clear();
        }
    }
}
