//! A version is taken out of service: rolled back, or retired with its plugin.

use std::sync::Arc;

use super::catalog::Plugin;
use super::deployer::{ChangeError, Deployer, audit, catalog};
use super::release::Release;
use super::workshop::{BuildError, needed};
use crate::app::App;
use crate::plugin::Identity;

impl Deployer {
    /// Brings the latest previous version back, or the one whose version or digest begins with `to`. A trial that
    /// goes on is ended instead. Gives what serves now.
    ///
    /// # Errors
    /// When there is nothing to go back to.
    pub async fn rollback(
        &mut self,
        app: &App,
        name: &str,
        to: Option<&str>,
        by: &str,
    ) -> Result<Identity, ChangeError> {
        if to.is_none() && catalog(app).get(name).is_some_and(|plugin| plugin.candidate.is_some()) {
            return Ok(self.end_trial(app, name, "rolled back by hand during its trial", by));
        }
        let release = {
            let plugins = catalog(app);
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
        let refused = |error: BuildError| ChangeError::Refused { plugin: name.to_owned(), reason: error.to_string() };
        self.promote(app, name, release, &mut Vec::new()).await.map_err(refused)?;
        audit(by, "rollback", &identity, "serving");
        app.recorder.metrics.deployment(name, "rollback");
        self.remember(app);
        Ok(identity)
    }

    /// Takes a plugin out of service.
    ///
    /// # Errors
    /// When there is none, or a pipeline needs it.
    pub fn retire(&mut self, app: &App, name: &str, by: &str) -> Result<(), ChangeError> {
        let users = needed(&self.config).remove(name).unwrap_or_default();
        let mut plugins = catalog(app);
        let known = plugins.get_mut(name).filter(|plugin| plugin.serving.is_some() || !plugin.refused.is_empty());
        let Some(plugin) = known else {
            return Err(ChangeError::NotFound(format!("there is no plugin `{name}`")));
        };
        if !users.is_empty() {
            let pipelines = users.join("`, `");
            return Err(ChangeError::Conflict(format!("plugin `{name}` is needed by the pipeline `{pipelines}`")));
        }
        // What was seen stays, so that a file that is still in the folder does not bring it back.
        let retired = std::mem::replace(plugin, Plugin { seen: plugin.seen.clone(), ..Plugin::default() });
        drop(plugins);
        if let Some(release) = retired.serving {
            audit(by, "retire", &release.artifact.identity, "gone");
            app.recorder.forget(&release.artifact.identity);
        }
        retired.previous.iter().for_each(|previous| app.recorder.forget(&previous.release.artifact.identity));
        self.remember(app);
        Ok(())
    }
}
