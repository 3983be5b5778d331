//! Takes a version out of service: rolls it back, or retires its plugin.

use std::sync::Arc;

use plimsoll_runtime::identity::Identity;

use super::build_error::BuildError;
use super::catalog::CatalogEntry;
use super::deployer::{ChangeError, Deployer, audit};
use super::needed::needed;
use super::release::Release;
use super::serving::Serving;

impl Deployer {
    /// Rolls back to the latest previous version, or to the one with the version `to` or a digest that begins with `to`
    /// (at least 6 digits). If `to` is `None` and the plugin has a canary, ends the canary instead. Returns the version
    /// that serves now.
    ///
    /// # Errors
    /// If there is no such version, or it is rejected.
    pub async fn rollback(
        &mut self,
        serving: &Serving,
        name: &str,
        to: Option<&str>,
        by: &str,
    ) -> Result<Identity, ChangeError> {
        if to.is_none() && serving.catalog().get(name).is_some_and(|plugin| plugin.candidate.is_some()) {
            return self.end_canary(serving, name, "rolled back manually during its canary", by);
        }
        let release = {
            let plugins = serving.catalog();
            let plugin =
                plugins.get(name).ok_or_else(|| ChangeError::NotFound(format!("there is no plugin `{name}`")))?;
            let wanted = |release: &&Arc<Release>| {
                let Identity { version, digest, .. } = &release.artifact.identity;
                to.is_none_or(|to| **version == *to || (to.len() >= 6 && digest.starts_with(to)))
            };
            plugin.previous.iter().map(|previous| &previous.release).find(wanted).cloned()
        };
        let release = release.ok_or_else(|| {
            let what = to.map_or("no previous version".to_owned(), |to| format!("no previous version `{to}`"));
            ChangeError::Conflict(format!("plugin `{name}` has {what}"))
        })?;
        let identity = release.artifact.identity.clone();
        let rejected = |error: BuildError| ChangeError::Rejected { plugin: name.to_owned(), reason: error.to_string() };
        self.promote(serving, name, release, &mut Vec::new()).await.map_err(rejected)?;
        audit(by, "rollback", &identity, "serving");
        serving.records.metrics.record_deployment(name, "rollback");
        self.write_journal(serving);
        Ok(identity)
    }

    /// Takes a plugin out of service.
    ///
    /// # Errors
    /// If there is no such plugin, or a pipeline needs it.
    pub fn retire(&mut self, serving: &Serving, name: &str, by: &str) -> Result<(), ChangeError> {
        let users = needed(&self.config).remove(name).unwrap_or_default();
        let mut plugins = serving.catalog();
        let known = plugins.get_mut(name).filter(|plugin| plugin.serving.is_some() || !plugin.rejected.is_empty());
        let Some(plugin) = known else {
            return Err(ChangeError::NotFound(format!("there is no plugin `{name}`")));
        };
        if !users.is_empty() {
            let pipelines = users.join("`, `");
            return Err(ChangeError::Conflict(format!("plugin `{name}` is needed by pipeline `{pipelines}`")));
        }
        // The handled files are kept, so that a file that is still in the folder does not deploy the plugin again.
        let retired =
            std::mem::replace(plugin, CatalogEntry { handled: plugin.handled.clone(), ..CatalogEntry::default() });
        drop(plugins);
        if let Some(release) = retired.serving {
            audit(by, "retire", &release.artifact.identity, "gone");
        }
        self.write_journal(serving);
        Ok(())
    }
}
