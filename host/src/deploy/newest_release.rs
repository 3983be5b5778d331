//! Finds the file of a plugin that may serve: the newest one whose bytes were not handled before.

use std::path::PathBuf;
use std::time::SystemTime;

use super::catalog::{CatalogEntry, RejectedVersion, VersionFigures};
use super::deployer::Deployer;
use super::file_order::{check_order, log_skipped, waits_for_canary};
use super::folder_look::ComponentFile;
use super::journal_state::HandledFile;
use super::needed::declared;
use super::newest_file::{NoNewest, newest};
use super::release::{FileError, Release};
use crate::config::Config;

/// Why the newest file of a plugin is not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoFile {
    #[error(transparent)]
    NoNewest(#[from] NoNewest),
    /// Another file, or the bundled plugin, must not take its place.
    #[error("{} cannot be read: {reason}", path.display())]
    Unseen { path: PathBuf, reason: String },
}

/// A file, and the release that it contains.
type FoundRelease = (ComponentFile, Result<Release, FileError>);

impl Deployer {
    /// Returns the file with the highest version among those whose bytes were not handled before, unless a newer version
    /// serves. If the plugin does not serve, handled files count as unhandled, because a retired plugin that is needed
    /// again has only its files; those that were rolled back come last.
    ///
    /// # Errors
    /// If there are several and none is the newest. Then they stay unhandled, and the scan that finds only one of them
    /// deploys it. Also if the plugin does not serve, and a file of it may be there that cannot be looked at.
    pub(super) fn newest_file(
        &mut self,
        config: &Config,
        name: &str,
        plugin: &mut CatalogEntry,
    ) -> Result<Option<FoundRelease>, NoFile> {
        let look = self.folder.look(config, &plugin.known_files());
        if plugin.serving.is_none()
            && let Some((path, reason)) = look.unseen_of(config, name)
        {
            return Err(NoFile::Unseen { path: path.to_owned(), reason: reason.to_owned() });
        }
        let mut fresh = Vec::new();
        for found in look.files.iter().filter(|found| found.name == name) {
            if self.folder.is_changing(&found.path) {
                continue;
            }
            let what = found.path.display().to_string();
            let handled = plugin.handled.get(&what);
            if plugin.serving.is_some() && handled.is_some_and(|handled| handled.fingerprint == found.fingerprint) {
                self.folder.mark_handled(found);
                continue;
            }
            let release = self.rehearsed.file(found, || release_of_file(config, found));
            match &release {
                Ok(release) if plugin.serving.is_some() && plugin.is_handled(&what, release) => {
                    let digest = &release.artifact.identity.digest;
                    let serves = plugin.serving.as_ref().is_some_and(|it| it.artifact.identity.digest == *digest);
                    if handled.is_none() && !serves && !self.is_rehearsal {
                        log_skipped(found, release);
                    }
                    self.folder.mark_handled(found);
                    remember(plugin, found, release);
                }
                _ => fresh.push((found.clone(), release)),
            }
        }
        let is_withdrawn = |release: &Result<Release, FileError>| {
            release.as_ref().is_ok_and(|release| plugin.is_withdrawn(&release.artifact.identity.digest))
        };
        // In place of a version that is lost, none that was rolled back may serve.
        if plugin.lost.is_some() || fresh.iter().any(|(_, release)| !is_withdrawn(release)) {
            fresh.retain(|(_, release)| !is_withdrawn(release));
        }
        let files: Vec<_> = fresh.iter().map(|(found, _)| found.clone()).collect();
        let Some(newest) = newest(&files)? else { return Ok(None) };
        let mut chosen = None;
        for (found, release) in fresh {
            self.folder.mark_handled(&found);
            if found == *newest {
                chosen = Some((found, release));
            } else if let Ok(release) = &release {
                // New files with lower versions are recorded as handled. Otherwise the next selection would take one of
                // these files.
                remember(plugin, &found, release);
            }
        }
        if let Some((found, Ok(release))) = &chosen
            && declared(config, name).is_none()
            && let Err(error) = check_order(plugin, release, |path| look.is_gone(path))
        {
            if waits_for_canary(plugin, release) {
                self.folder.mark_unhandled(found);
                return Ok(None);
            }
            remember(plugin, found, release);
            let identity = release.artifact.identity.clone();
            if plugin.serving.as_ref().is_some_and(|it| it.artifact.identity.digest == identity.digest) {
                // A copy of the serving version with an older name is not another version.
                return Ok(None);
            }
            if !self.is_rehearsal {
                tracing::warn!(plugin = name, "{} is rejected: {error}", found.path.display());
            }
            plugin.reject(RejectedVersion {
                identity,
                source: found.path.display().to_string(),
                reason: error.to_string(),
                at: SystemTime::now(),
                retry: false,
                figures: VersionFigures::default(),
            });
            return Ok(None);
        }
        Ok(chosen)
    }
}

/// Remembers that a file was handled.
fn remember(plugin: &mut CatalogEntry, found: &ComponentFile, release: &Release) {
    let handled = HandledFile { digest: release.artifact.identity.digest.to_string(), fingerprint: found.fingerprint };
    plugin.handled.insert(found.path.display().to_string(), handled);
}

/// Reads the release of a component file.
pub(super) fn release_of_file(config: &Config, found: &ComponentFile) -> Result<Release, FileError> {
    let max = config.deploy.max_plugin.as_u64();
    Release::from_file(&found.name, found.version.as_deref(), &found.path, max)
}
