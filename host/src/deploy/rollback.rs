//! Takes a version out of service: rolls it back, or retires its plugin.

use std::sync::Arc;

use plimsoll_runtime::identity::Identity;
use plimsoll_runtime::text::{listed, shortened};

use super::build_error::BuildError;
use super::catalog::CatalogEntry;
use super::deployer::{ChangeError, Deployer, audit, candidates};
use super::needed::users;
use super::release::Release;
use super::serving::Serving;

/// Why a canary ended.
const ENDED_MANUALLY: &str = "rolled back manually during its canary";

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
        self.adopt_rehearsal();
        if ends_canary(serving, name, to) {
            return self.end_canary(serving, name, ENDED_MANUALLY, by);
        }
        let release = previous_release(serving, name, to)?;
        let identity = release.artifact.identity.clone();
        let rejected = |error: BuildError| ChangeError::of_build(name, &error);
        let (before, candidate) = {
            let plugins = serving.catalog();
            let plugin = plugins.get(name);
            (plugin.and_then(|it| it.serving.clone()), plugin.and_then(|it| it.candidate.clone()))
        };
        self.promote(serving, name, release, &mut Vec::new()).await.map_err(rejected)?;
        let candidate = candidate.filter(|candidate| candidate.artifact.identity.digest != identity.digest);
        for gone in candidate.iter().chain(&before) {
            let gone = &gone.artifact.identity.digest;
            if let Some(plugin) = serving.catalog().get_mut(name).filter(|_| *gone != identity.digest) {
                plugin.withdraw(gone);
            }
        }
        if let Some(candidate) = candidate {
            self.reject_candidate(serving, &candidate, ENDED_MANUALLY, by);
        }
        audit(by, "rollback", &identity, "serving");
        serving.records.metrics.record_deployment(name, "rollback");
        self.write_journal(serving);
        Ok(identity)
    }

    /// Rehearses [`Deployer::rollback`]: after a restart, the stages of the previous versions must be built again.
    pub async fn rehearse_rollback(&mut self, serving: &Serving, name: &str, to: Option<&str>) {
        if ends_canary(serving, name, to) {
            return;
        }
        // The rollback reports an error.
        let Ok(release) = previous_release(serving, name, to) else { return };
        let mut selection = self.selection(serving);
        selection.insert(name.to_owned(), release);
        let (config, mut held) = (self.config.clone(), Vec::new());
        let _ = self.builder.build(&config, &selection, &mut held).await;
        for (other, candidate) in candidates(serving).into_iter().filter(|(other, _)| *other != name) {
            let mut selection = selection.clone();
            selection.insert(other, candidate);
            let _ = self.builder.build(&config, &selection, &mut held).await;
        }
        self.rehearsed.held.extend(held);
    }

    /// Takes a plugin out of service.
    ///
    /// # Errors
    /// If there is no such plugin, or a pipeline needs it, which may be unloaded.
    pub fn retire(&mut self, serving: &Serving, name: &str, by: &str) -> Result<(), ChangeError> {
        let users = users(&self.config, &self.unloaded, name);
        let mut plugins = serving.catalog();
        let known = plugins.get_mut(name).filter(|plugin| plugin.serving.is_some() || !plugin.rejected.is_empty());
        let Some(plugin) = known else {
            return Err(ChangeError::NotFound(format!("there is no plugin `{name}`")));
        };
        if !users.is_empty() {
            let pipelines = listed(users.iter().map(String::as_str));
            return Err(ChangeError::Conflict(format!("plugin `{name}` is needed by these pipelines: {pipelines}")));
        }
        // The handled files are kept, so that a file that is still in the folder does not deploy the plugin again.
        let kept = CatalogEntry {
            handled: plugin.handled.clone(),
            withdrawn: plugin.withdrawn.clone(),
            ..CatalogEntry::default()
        };
        let retired = std::mem::replace(plugin, kept);
        drop(plugins);
        if let Some(release) = retired.serving {
            audit(by, "retire", &release.artifact.identity, "gone");
        }
        self.write_journal(serving);
        Ok(())
    }
}

/// Checks that a plugin has the canary whose digest begins with `digest`, before a rollback that is to end this canary and
/// nothing else.
///
/// # Errors
/// If it has none, or another one: it may have been promoted meanwhile.
pub(super) fn check_canary(serving: &Serving, name: &str, digest: &str) -> Result<(), ChangeError> {
    let is_wanted = |release: &Arc<Release>| digest.len() >= 6 && release.artifact.identity.digest.starts_with(digest);
    match serving.catalog().get(name).is_some_and(|plugin| plugin.candidate.as_ref().is_some_and(is_wanted)) {
        true => Ok(()),
        false => Err(ChangeError::Conflict(format!(
            "plugin `{name}` has no canary `{}` any more; `GET /v1/plugins/{name}` shows what serves now",
            shortened(digest)
        ))),
    }
}

/// Checks that the version whose digest begins with `digest` serves, before its deployment is taken back.
///
/// # Errors
/// If another version serves.
pub(super) fn check_serving(serving: &Serving, name: &str, digest: &str) -> Result<(), ChangeError> {
    let is_it = |release: &Arc<Release>| digest.len() >= 6 && release.artifact.identity.digest.starts_with(digest);
    match serving.catalog().get(name).is_some_and(|plugin| plugin.serving.as_ref().is_some_and(is_it)) {
        true => Ok(()),
        false => Err(ChangeError::Conflict(format!(
            "version `{}` of plugin `{name}` does not serve, so its deployment is not undone",
            shortened(digest)
        ))),
    }
}

/// Returns an error if the plugin has changed since the caller has looked at it: if another version serves than the one whose
/// digest begins with `expected` (`none`: no version), or if it has a canary. So two changes of several servers at the same time
/// cannot leave different versions behind.
///
/// # Errors
/// If it has changed.
pub fn check_expected(serving: &Serving, name: &str, expected: Option<&str>) -> Result<(), ChangeError> {
    let Some(expected) = expected else { return Ok(()) };
    let catalog = serving.catalog();
    let entry = catalog.get(name);
    let serves = entry.and_then(|entry| entry.serving.as_ref()).map(|release| &release.artifact.identity.digest);
    let is_it = match serves {
        None => expected == "none",
        Some(digest) => expected.len() >= 6 && digest.starts_with(expected),
    };
    if is_it && entry.is_none_or(|entry| entry.candidate.is_none()) {
        return Ok(());
    }
    let canary = if is_it { ", with a canary" } else { "" };
    Err(ChangeError::Conflict(format!(
        "plugin `{name}` was changed by somebody else: {:.12} serves{canary}, instead of {:.12} alone. Look at it again with \
         `plimsoll plugin list`",
        serves.map_or("no version", |digest| &**digest),
        shortened(expected)
    )))
}

/// Returns true if a rollback ends the canary of the plugin.
fn ends_canary(serving: &Serving, name: &str, to: Option<&str>) -> bool {
    to.is_none() && serving.catalog().get(name).is_some_and(|plugin| plugin.candidate.is_some())
}

/// The latest previous version, or the one that `to` names.
fn previous_release(serving: &Serving, name: &str, to: Option<&str>) -> Result<Arc<Release>, ChangeError> {
    let plugins = serving.catalog();
    let plugin = plugins.get(name).ok_or_else(|| ChangeError::NotFound(format!("there is no plugin `{name}`")))?;
    let wanted = |release: &&Arc<Release>| {
        let Identity { version, digest, .. } = &release.artifact.identity;
        to.is_none_or(|to| **version == *to || (to.len() >= 6 && digest.starts_with(to)))
    };
    plugin.previous.iter().map(|previous| &previous.release).find(wanted).cloned().ok_or_else(|| {
        let versions: Vec<_> =
            plugin.previous.iter().map(|previous| &*previous.release.artifact.identity.version).collect();
        ChangeError::Conflict(match to {
            Some(to) if !versions.is_empty() => {
                format!("plugin `{name}` has no previous version `{to}`; it has {}", versions.join(", "))
            }
            _ => format!("plugin `{name}` has no previous version"),
        })
    })
}
