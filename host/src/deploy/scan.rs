//! Scans the plugin folder and the configuration file once, and makes the changes.
//!
//! A file that cannot be read changes nothing: this is logged once, and the next scan tries it again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use super::catalog::known_files;
use super::deployer::Deployer;
use super::deployments::Build;
use super::file_deployment::{deploy_file, rejected_file};
use super::newest_file::take_undecided;
use super::plugin_folder::{ChangesForLong, Scan, is_at_rest, is_for_long};
use super::serving::Serving;
use crate::base::files::{FileStat, look_at_file};
use crate::config::{Config, ConfigError};

/// The state of the configuration file when it was last read, and while it is being written.
#[derive(Debug, Default)]
pub(super) struct ConfigFile {
    handled: Option<FileStat>,
    /// Its state, when it was first seen in this state, and when it was first seen to change.
    changing: Option<(FileStat, Instant, Instant)>,
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

/// Why the configuration file cannot be read now.
#[derive(Debug, thiserror::Error)]
enum ConfigFileError {
    #[error("it is missing")]
    Missing,
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    #[error(transparent)]
    Changing(#[from] ChangesForLong),
}

impl ConfigFile {
    /// Looks at the file.
    ///
    /// # Errors
    /// If the file cannot be looked at, or is missing although there was one.
    fn check(&mut self, config: &Config) -> Result<FileChange, ConfigFileError> {
        let now = match look_at_file(&config.path)? {
            Some((now, _)) => now,
            None if self.handled.or(config.seen).is_none() => return Ok(FileChange::None),
            None => return Err(ConfigFileError::Missing),
        };
        // The file may have changed between the start and this first check.
        if *self.handled.get_or_insert(config.seen.unwrap_or(now)) == now {
            self.changing = None;
            return Ok(FileChange::None);
        }
        let (before, since, began) = self.changing.unwrap_or((now, Instant::now(), Instant::now()));
        let since = if before == now { since } else { Instant::now() };
        self.changing = Some((now, since, began));
        match is_at_rest(since) {
            true => Ok(FileChange::Complete(now)),
            false if is_for_long(began) => Err(ChangesForLong.into()),
            false => Ok(FileChange::Pending),
        }
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
                let mut delayed = None;
                if let Some(config) = config {
                    let (rehearsed, config) = (config.clone(), config);
                    // `reload` logs a rejected configuration.
                    let result = build.make(
                        &async |serving, deployer| deployer.rehearse_reload(serving, rehearsed.clone()).await,
                        async |serving, deployer| deployer.reload(serving, config).await,
                    );
                    delayed = result.err().filter(ConfigError::is_temporary);
                }
                scan = build.change(async |serving, deployer| deployer.scan_again(serving));
                if let Some(error) = delayed {
                    file.is_requested = true;
                    build.change(async |_, deployer| {
                        drop(scan.unseen.insert(deployer.config.path.clone(), error.to_string()));
                    });
                }
            }
            Err(error) => build.change(async |_, deployer| {
                drop(scan.unseen.insert(deployer.config.path.clone(), error.to_string()));
            }),
        }
    }
    for (found, reason) in take_undecided(&mut scan.scan.ready) {
        build.change(async |serving, deployer| {
            if !deployer.unreadable.is_logged(&found.path) {
                deployer.reject(serving, "folder", rejected_file(&found, reason.clone()));
            }
        });
        scan.unseen.insert(found.path, reason);
    }
    for found in std::mem::take(&mut scan.scan.ready) {
        if let Err(error) = deploy_file(build, &found, &scan.scan.look) {
            scan.unseen.insert(found.path, error.to_string());
        }
    }
    for release in build.change(async |serving, deployer| deployer.waiting_canaries(serving)) {
        build.make(
            &async |serving, deployer| deployer.rehearse_deploy(serving, &release).await,
            async |serving, deployer| deployer.resume_canary(serving, (*release).clone(), "folder").await,
        );
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
            false => file.check(&self.config).unwrap_or_else(|error| {
                begun.unseen.insert(self.config.path.clone(), error.to_string());
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
    /// If the file cannot be read. It is tried again at the next scan.
    fn read_config(
        &mut self,
        serving: &Serving,
        file: &mut ConfigFile,
        change: FileChange,
    ) -> io::Result<Option<Config>> {
        if file.handled.or(self.config.seen).is_none() {
            file.is_requested = false;
            tracing::info!("there is no configuration file to reload; the bundled demo continues to be served");
            return Ok(None);
        }
        fs::read(&self.config.path)?;
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
}
