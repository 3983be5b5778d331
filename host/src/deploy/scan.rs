//! Scans the plugin folder and the configuration file once, and makes the changes.
//!
//! A file that cannot be read changes nothing: this is logged once, and the next scan tries it again. Files are read without
//! any lock, because a file system may answer slowly or never, and other changes must not wait for it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use super::catalog::known_files;
use super::deployments::Build;
use super::file_deployment::rejected_file;
use super::many_files::deploy_files;
use super::newest_file::take_undecided;
use super::pending_reload::PendingReload;
use super::plugin_folder::{ChangesForLong, Scan, is_at_rest, is_for_long};
use super::pull::{Pulled, wanted};
use super::pull_again::{Pause, PullAgain};
use crate::base::file_access::{in_haste, with_own_share};
use crate::base::files::{FileStat, look_at_regular_file, read_start};
use crate::config::{Config, ConfigError};

/// The state of the configuration file when it was last read, and while it is being written.
#[derive(Debug)]
pub(super) struct ConfigFile {
    handled: Option<FileStat>,
    /// Its state, when it was first seen in this state, and when it was first seen to change.
    changing: Option<(FileStat, Instant, Instant)>,
    /// True after SIGHUP: once no file is being written, the file is read even if it has not changed.
    pub(super) is_requested: bool,
    /// True after SIGHUP, until the next scan: another plugin folder in place of the present one is the right one.
    pub(super) is_signaled: bool,
    /// The configuration that was last read, while its components are pulled.
    pending: Option<PendingReload>,
    /// Wakes the watcher when they were pulled.
    wake: mpsc::Sender<()>,
    /// Why the configuration that was last read is not served yet, and when it is tried again.
    problem: Option<String>,
    pause: Pause,
    again: PullAgain,
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
    pub(super) fn new(wake: mpsc::Sender<()>) -> Self {
        Self {
            handled: None,
            changing: None,
            is_requested: false,
            is_signaled: false,
            pending: None,
            wake,
            problem: None,
            pause: Pause::default(),
            again: PullAgain::default(),
        }
    }

    /// Returns true if the file was read, and its components are being pulled.
    pub(super) fn is_pulling(&self) -> bool {
        self.pending.is_some()
    }

    /// Looks at the file.
    ///
    /// # Errors
    /// If the file cannot be looked at, or is missing although there was one.
    fn check(&mut self, config: &Config) -> Result<FileChange, ConfigFileError> {
        let now = match with_own_share(|| look_at_regular_file(&config.path))? {
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
    in_haste(|| scan_once(build, file))
}

fn scan_once(build: &Build<'_>, file: &mut ConfigFile) -> bool {
    if std::mem::take(&mut file.is_signaled) {
        file.pause.reset();
        build.change(async |_, deployer| deployer.folder.accept_other_folders());
    }
    let Some((mut scan, change)) = begin_scan(build, file) else {
        return true;
    };
    // A changed file replaces a configuration whose components are being pulled; SIGHUP waits for it.
    let is_due = file.is_requested && file.pending.is_none() && file.pause.is_over();
    if change != FileChange::None || is_due {
        if change != FileChange::None {
            file.pause.reset();
        }
        let config = build.change(async |_, deployer| deployer.config.clone());
        match read_config(build, &config, file, change) {
            Ok(new) => file.pending = new.map(|new| begin_reload(build, new, &file.wake)),
            Err(error) => drop(scan.unseen.insert(config.path.clone(), error.to_string())),
        }
    }
    match file.pending.take().map(PendingReload::finish) {
        Some(Ok((config, pulled))) => {
            let error = reload(build, config, &pulled);
            scan = scan_folder(build);
            file.is_requested |= error.is_some();
            // A registry is not asked at each scan.
            if error.is_some() && pulled.is_incomplete() {
                file.pause.begin();
            }
            file.problem = error.map(|error| error.to_string());
        }
        Some(Err(pending)) => file.pending = Some(*pending),
        None => {}
    }
    if let Some(problem) = &file.problem {
        let path = build.change(async |_, deployer| deployer.config.path.clone());
        scan.unseen.insert(path, problem.clone());
    }
    for (found, reason) in take_undecided(&mut scan.scan.ready) {
        build.change(async |serving, deployer| {
            if !deployer.unreadable.is_logged(&found.path) {
                deployer.reject(serving, "folder", rejected_file(&found, reason.clone()));
            }
        });
        scan.unseen.insert(found.path, reason);
    }
    scan.unseen.extend(deploy_files(build, &std::mem::take(&mut scan.scan.ready), &scan.scan.look));
    for release in build.change(async |serving, deployer| deployer.waiting_canaries(serving)) {
        build.make(
            &async |serving, deployer| {
                // As the change does, so that it finds what was tried.
                let name = release.artifact.identity.name.to_string();
                deployer.resuming.insert(name, Arc::clone(&release));
                deployer.rehearse_deploy(serving, &release).await;
            },
            async |serving, deployer| {
                // An upload or a rollback may have ended its canary meanwhile.
                if deployer.waiting_canaries(serving).iter().any(|waiting| Arc::ptr_eq(waiting, &release)) {
                    deployer.resume_canary(serving, (*release).clone(), "folder").await;
                } else if let Some(plugin) = serving.catalog().get_mut(&*release.artifact.identity.name) {
                    // The rehearsal has set it.
                    plugin.compiling = None;
                }
            },
        );
    }
    let BegunScan { scan, mut unseen } = scan;
    unseen.extend(file.again.scan(build, &file.wake));
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

/// Looks at the folder and the configuration file. Returns `None` if something is still being written, because files
/// that are written together are deployed together, after the last file is complete.
fn begin_scan(build: &Build<'_>, file: &mut ConfigFile) -> Option<(BegunScan, FileChange)> {
    let mut begun = scan_folder(build);
    let change = match begun.scan.pending {
        true => FileChange::Pending,
        false => {
            let config = build.change(async |_, deployer| deployer.config.clone());
            file.check(&config).unwrap_or_else(|error| {
                begun.unseen.insert(config.path.clone(), error.to_string());
                FileChange::None
            })
        }
    };
    if change == FileChange::Pending {
        build.change(async |serving, deployer| deployer.unreadable.add(&begun.unseen, &serving.records.metrics));
        return None;
    }
    Some((begun, change))
}

/// Looks at the folder.
fn scan_folder(build: &Build<'_>) -> BegunScan {
    let (config, mut folder, known) = build.change(async |serving, deployer| {
        (deployer.config.clone(), deployer.folder.clone(), known_files(&serving.catalog()))
    });
    let scan = folder.scan(&config, &known);
    // Only scans change it, and there is one at a time.
    build.change(async |_, deployer| deployer.folder = folder);
    let unseen = scan.look.unseen.clone();
    BegunScan { scan, unseen }
}

/// Reads the configuration file. Returns `None` if there is no new configuration, or it is not valid.
///
/// # Errors
/// If the file cannot be read. It is tried again at the next scan.
fn read_config(
    build: &Build<'_>,
    current: &Config,
    file: &mut ConfigFile,
    change: FileChange,
) -> io::Result<Option<Config>> {
    if file.handled.or(current.seen).is_none() {
        file.is_requested = false;
        tracing::info!("there is no configuration file to reload; the bundled demo continues to be served");
        return Ok(None);
    }
    with_own_share(|| read_start(&current.path, 1))?;
    file.is_requested = false;
    if let FileChange::Complete(now) = change {
        file.handled = Some(now);
        file.changing = None;
    }
    let config = with_own_share(|| Config::load(Some(&current.path))).map(|mut config| {
        config.keep_overrides(current);
        config
    });
    match config {
        Ok(config) => Ok(Some(config)),
        Err(error) => {
            file.problem = None;
            build.serving().records.metrics.record_reload("refused");
            tracing::warn!(target: "plimsoll::audit", action = "reload", result = "refused",
                "{error}; the old configuration continues to be served");
            Ok(None)
        }
    }
}

/// Starts to pull the components of a new configuration.
fn begin_reload(build: &Build<'_>, mut config: Config, wake: &mpsc::Sender<()>) -> PendingReload {
    let (known, models) =
        build.change(async |serving, deployer| (deployer.known_releases(serving), deployer.config.models_dir()));
    config.pulled.folder = Some(models);
    let wanted = wanted(&config, &known);
    PendingReload::begin(build.runtime(), config, wanted, wake)
}

/// Serves a new configuration. Returns an error if it may be served later, so that it must be tried again; other errors
/// are logged.
fn reload(build: &Build<'_>, config: Config, pulled: &Pulled) -> Option<ConfigError> {
    let ahead = build.read_ahead(&config);
    let rehearsed = config.clone();
    let result = build.make(
        &async |serving, deployer| {
            deployer.rehearse_reload(serving, rehearsed.clone(), pulled.clone(), Arc::clone(&ahead)).await;
        },
        async |serving, deployer| deployer.reload(serving, config).await,
    );
    // `reload` logs a rejected configuration.
    result.err().filter(ConfigError::is_temporary)
}
