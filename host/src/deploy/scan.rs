//! Scans the plugin folder and the configuration file once, and makes the changes.
//!
//! What cannot be read changes nothing: it is told once, and tried again at the next scan.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use plimsoll_runtime::identity::Identity;

use super::catalog::{RejectedVersion, VersionFigures, known_files};
use super::deployer::{ChangeError, Deployer};
use super::deployments::Build;
use super::folder_look::{ComponentFile, Look};
use super::needed::needed;
use super::newest_file::take_undecided;
use super::plugin_folder::{Scan, is_at_rest};
use super::release::{FileError, Release, ReleaseSource};
use super::release_selection::release_of_file;
use super::serving::Serving;
use crate::base::files::{FileStat, look_at_file};
use crate::config::Config;

/// The state of the configuration file when it was last read, and while it is being written.
#[derive(Debug, Default)]
pub(super) struct ConfigFile {
    handled: Option<FileStat>,
    changing: Option<(FileStat, Instant)>,
    /// True after SIGHUP: once no file is being written, the file is read even if it has not changed.
    pub(super) is_requested: bool,
}

/// The change of the configuration file since it was last read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileChange {
    None,
    /// It is still being written.
    Pending,
    /// It has changed, and is completely written.
    Complete(FileStat),
}

impl ConfigFile {
    /// Looks at the file.
    ///
    /// # Errors
    /// If the file cannot be looked at, or is missing although there was one.
    fn check(&mut self, config: &Config) -> Result<FileChange, String> {
        let now = match look_at_file(&config.path) {
            Ok(Some((now, _))) => now,
            Ok(None) if self.handled.or(config.seen).is_none() => return Ok(FileChange::None),
            Ok(None) => return Err("it is missing".to_owned()),
            Err(error) => return Err(error.to_string()),
        };
        // The file may have changed between the start and this first check.
        if *self.handled.get_or_insert(config.seen.unwrap_or(now)) == now {
            self.changing = None;
            return Ok(FileChange::None);
        }
        match self.changing {
            Some((before, since)) if before == now => {
                if is_at_rest(since) {
                    return Ok(FileChange::Complete(now));
                }
            }
            _ => self.changing = Some((now, Instant::now())),
        }
        Ok(FileChange::Pending)
    }
}

/// Scans the plugin folder and the configuration file once, and makes the changes. Returns true if something is still
/// being written.
pub(super) fn scan(build: &Build<'_>, file: &mut ConfigFile) -> bool {
    let Some((mut scan, change)) = build.change(async |serving, deployer| deployer.begin_scan(serving, file)) else {
        return true;
    };
    if file.is_requested || change != FileChange::None {
        match build.change(async |serving, deployer| deployer.read_config(serving, file, change)) {
            Ok(config) => {
                if let Some(config) = config {
                    let (rehearsed, config) = (config.clone(), config);
                    // `reload` logs a rejected configuration.
                    let _ = build.make(
                        &async |serving, deployer| deployer.rehearse_reload(serving, rehearsed.clone()).await,
                        async |serving, deployer| deployer.reload(serving, config).await,
                    );
                }
                scan = build.change(async |serving, deployer| deployer.scan_again(serving));
            }
            Err(reason) => build.change(async |_, deployer| {
                drop(scan.unseen.insert(deployer.config.path.clone(), reason));
            }),
        }
    }
    for (found, reason) in take_undecided(&mut scan.scan.ready) {
        build.change(async |serving, deployer| {
            if !deployer.unreadable.is_told(&found.path) {
                deployer.reject(serving, "folder", rejected_file(&found, reason.clone()));
            }
        });
        scan.unseen.insert(found.path, reason);
    }
    for found in std::mem::take(&mut scan.scan.ready) {
        if let Err(reason) = deploy_file(build, &found) {
            scan.unseen.insert(found.path, reason);
        }
    }
    let BegunScan { scan, unseen } = scan;
    build.change(async |serving, deployer| {
        deployer.note_missing_files(serving, &scan.look);
        deployer.unreadable.replace(&unseen, &serving.records.metrics);
        deployer.forget_gone(serving, &scan.look);
        deployer.retry_journal(serving);
    });
    scan.pending
}

/// Deploys a file of the plugin folder, unless it has the bytes that were handled before.
///
/// # Errors
/// If it cannot be deployed now: the reason. It is tried again at the next scan.
fn deploy_file(build: &Build<'_>, found: &ComponentFile) -> Result<(), String> {
    let (config, was_told) =
        build.change(async |_, deployer| (deployer.config().clone(), deployer.unreadable.is_told(&found.path)));
    let release = release_of_file(&config, found);
    let what = found.path.display().to_string();
    let is_handled = |serving: &Serving, release: &Release| {
        serving.catalog().get(&found.name).is_some_and(|plugin| plugin.is_handled(&what, release))
    };
    // A file that could not be deployed before is not compiled at every scan.
    let rehearsed = release.as_ref().ok().filter(|release| !was_told && !is_handled(build.serving(), release)).cloned();
    build.make(
        &async |serving, deployer| {
            if let Some(release) = &rehearsed {
                deployer.rehearse_deploy(serving, release).await;
            }
        },
        async |serving, deployer| {
            let result = deployer.deploy_file(serving, found, release).await;
            if let Some(plugin) = serving.catalog().get_mut(&found.name) {
                plugin.compiling = None;
            }
            result
        },
    )
}

/// A scan whose changes are not made yet.
struct BegunScan {
    scan: Scan,
    /// What cannot be read or deployed now, with the reason.
    unseen: BTreeMap<PathBuf, String>,
}

impl Deployer {
    /// Looks at the folder and the configuration file. Returns `None` if something is still being written, because files
    /// that are written together are deployed together, after the last file is complete.
    fn begin_scan(&mut self, serving: &Serving, file: &mut ConfigFile) -> Option<(BegunScan, FileChange)> {
        let mut begun = self.scan_again(serving);
        let change = match begun.scan.pending {
            true => FileChange::Pending,
            false => file.check(&self.config).unwrap_or_else(|reason| {
                begun.unseen.insert(self.config.path.clone(), reason);
                FileChange::None
            }),
        };
        if change == FileChange::Pending {
            self.unreadable.add(&begun.unseen, &serving.records.metrics);
            return None;
        }
        Some((begun, change))
    }

    /// Looks at the folder.
    fn scan_again(&mut self, serving: &Serving) -> BegunScan {
        let known = known_files(&serving.catalog());
        let scan = self.folder.scan(&self.config, &known);
        let unseen = scan.look.unseen.clone();
        BegunScan { scan, unseen }
    }

    /// Reads the configuration file. Returns `None` if there is no new configuration, or it is not valid.
    ///
    /// # Errors
    /// If the file cannot be read: the reason. It is tried again at the next scan.
    fn read_config(
        &mut self,
        serving: &Serving,
        file: &mut ConfigFile,
        change: FileChange,
    ) -> Result<Option<Config>, String> {
        if file.handled.or(self.config.seen).is_none() {
            file.is_requested = false;
            tracing::info!("there is no configuration file to reload; the bundled demo continues to be served");
            return Ok(None);
        }
        fs::read(&self.config.path).map_err(|error| error.to_string())?;
        file.is_requested = false;
        if let FileChange::Complete(now) = change {
            file.handled = Some(now);
            file.changing = None;
        }
        let config = Config::load(Some(&self.config.path)).map(|mut config| {
            config.keep_overrides(&self.config);
            config
        });
        match config {
            Ok(config) => Ok(Some(config)),
            Err(error) => {
                serving.records.metrics.record_reload("refused");
                tracing::warn!(target: "plimsoll::audit", action = "reload", result = "refused",
                    "{error}; the old configuration continues to be served");
                Ok(None)
            }
        }
    }

    /// Deploys the release of a file, unless it has the bytes that were handled before.
    ///
    /// # Errors
    /// As [`deploy_file`].
    async fn deploy_file(
        &mut self,
        serving: &Serving,
        found: &ComponentFile,
        release: Result<Release, FileError>,
    ) -> Result<(), String> {
        let what = found.path.display().to_string();
        let mut release = match release {
            Ok(release) => release,
            Err(FileError::Unreadable(reason)) => {
                if !self.unreadable.is_told(&found.path) {
                    let rejected = rejected_file(found, reason.clone());
                    serving.catalog().entry(found.name.clone()).or_default().reject(rejected);
                }
                return Err(reason);
            }
            Err(FileError::Rejected(reason)) => {
                self.reject(serving, "folder", rejected_file(found, reason));
                self.folder.mark_handled(found);
                return Ok(());
            }
        };
        let before = {
            let mut plugins = serving.catalog();
            let plugin = plugins.entry(found.name.clone()).or_default();
            // It can be read again.
            plugin.rejected.retain(|rejected| !rejected.identity.digest.is_empty() || rejected.source != what);
            if plugin.is_handled(&what, &release) {
                drop(plugins);
                self.skip_file(serving, found, &release);
                return Ok(());
            }
            plugin.handled.get(&what).cloned()
        };
        if self.unreadable.is_told(&found.path) {
            // Tried before it is logged as a deployment, because it may fail at every scan.
            self.keep(serving, &mut release).map_err(|error| error.to_string())?;
        }
        let digest = release.artifact.identity.digest.to_string();
        self.remember_handled(serving, &found.name, what.clone(), &digest, found.fingerprint);
        // Before the deployment, so that a release that causes a panic is not tried repeatedly.
        self.folder.mark_handled(found);
        let result = self.deploy(serving, release, "folder").await;
        if let Err(ChangeError::Conflict(_) | ChangeError::NotDurable { .. }) = &result {
            // The file is marked as not handled, so that the next scan tries it again.
            let mut plugins = serving.catalog();
            let handled = &mut plugins.entry(found.name.clone()).or_default().handled;
            match before {
                Some(before) => drop(handled.insert(what, before)),
                None => drop(handled.remove(&what)),
            }
            drop(plugins);
            self.folder.mark_unhandled(found);
        }
        match result {
            Err(error @ ChangeError::NotDurable { .. }) => Err(error.to_string()),
            // `deploy` has logged the result.
            _ => Ok(()),
        }
    }

    /// Marks a file as handled that has the bytes that were handled before.
    fn skip_file(&mut self, serving: &Serving, found: &ComponentFile, release: &Release) {
        let identity = &release.artifact.identity;
        let what = found.path.display().to_string();
        self.remember_handled(serving, &found.name, what, &identity.digest, found.fingerprint);
        self.folder.mark_handled(found);
        let is_serving = {
            let mut plugins = serving.catalog();
            let plugin = plugins.entry(found.name.clone()).or_default();
            // The file may have been gone.
            plugin.note = None;
            let current = plugin.serving.iter().chain(&plugin.candidate);
            current.map(|release| &release.artifact.identity.digest).any(|digest| *digest == identity.digest)
        };
        if !is_serving {
            tracing::info!(
                plugin = %identity.name, digest = %identity.digest,
                "{} has the bytes of a version that was taken out of service before, so it is not deployed; \
                 `plimsoll plugin deploy` deploys it",
                found.path.display()
            );
        }
        self.write_journal(serving);
    }

    /// Retires the plugins whose files are gone. A plugin that a pipeline still needs continues to serve, with a note.
    fn note_missing_files(&mut self, serving: &Serving, look: &Look) {
        let mut gone = Vec::new();
        for (name, plugin) in serving.catalog().iter() {
            let Some(ReleaseSource::File(path)) = plugin.serving.as_ref().map(|release| &release.source) else {
                continue;
            };
            if plugin.note.is_none() && look.is_gone(path) {
                gone.push((name.clone(), path.clone()));
            }
        }
        for (name, path) in gone {
            match needed(&self.config).remove(name.as_str()) {
                Some(users) => {
                    let note = format!(
                        "its file {} is gone; the plugin continues to serve because pipeline `{}` needs it",
                        path.display(),
                        users.join("`, `")
                    );
                    tracing::warn!(plugin = name, "{note}");
                    serving.catalog().entry(name).or_default().note = Some(note);
                }
                None => {
                    if let Err(error) = self.retire(serving, &name, "folder") {
                        tracing::warn!(plugin = name, "{error}");
                    }
                }
            }
        }
    }
}

fn rejected_file(found: &ComponentFile, reason: String) -> RejectedVersion {
    let (name, version) = (found.name.as_str().into(), found.shown_version().into());
    RejectedVersion {
        identity: Identity { name, version, digest: "".into() },
        source: found.path.display().to_string(),
        reason,
        at: SystemTime::now(),
        retry: true,
        figures: VersionFigures::default(),
    }
}
