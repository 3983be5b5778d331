//! Watches the plugin folder and the configuration file. They are scanned on file system events, on SIGHUP, and
//! periodically, because some file systems send no events.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use plimsoll_runtime::component::artifact::UNVERSIONED;
use plimsoll_runtime::identity::Identity;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::catalog::RejectedVersion;
use super::deployer::{ChangeError, Deployer};
use super::deployments::Deployments;
use super::needed::needed;
use super::plugin_folder::{ComponentFile, is_at_rest};
use super::release::ReleaseSource;
use super::release_selection::release_of_file;
use super::serving::Serving;
use crate::base::files::{FileStat, stat};
use crate::config::Config;

/// How soon the folder is scanned again if a file is still being written.
const SOON: Duration = Duration::from_millis(10);
/// How long the watcher pauses after a panic.
const PAUSE: Duration = Duration::from_secs(2);

/// Watches until the deployments are dropped, and decides canaries. If a change panics, the watcher is restarted, so
/// that later changes are still made.
pub async fn watch(deployments: Weak<Deployments>) {
    // A set, because it aborts its task when it is dropped.
    let mut task = JoinSet::new();
    task.spawn(watch_once(deployments.clone()));
    while task.join_next().await.is_some_and(|ended| ended.is_err_and(|error| error.is_panic())) {
        tracing::error!("a deployment task panicked; restarting the folder watcher");
        tokio::time::sleep(PAUSE).await;
        task.spawn(watch_once(deployments.clone()));
    }
}

async fn watch_once(deployments: Weak<Deployments>) {
    let Some(signaled) = deployments.upgrade().map(|this| Arc::clone(&this.serving.canary_signal)) else { return };
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    let (wake, mut woken) = mpsc::channel(1);
    let mut watched: Option<(Vec<PathBuf>, Option<RecommendedWatcher>)> = None;
    let mut file = ConfigFile::default();
    let mut next = SOON;
    loop {
        let mut decides_canaries = false;
        tokio::select! {
            _ = woken.recv() => {}
            () = tokio::time::sleep(next) => {}
            _ = hangup.recv() => file.is_requested = true,
            () = signaled.wait() => decides_canaries = true,
        }
        let Some(deployments) = deployments.upgrade() else { return };
        let folders = deployments
            .change(async move |serving, deployer| {
                if decides_canaries {
                    deployer.decide_canaries(serving).await;
                }
                let pending = deployer.scan(serving, &mut file).await;
                let next = if pending { SOON } else { deployer.config().deploy.poll };
                (folders(deployer.config()), file, next)
            })
            .await;
        let wanted;
        (wanted, file, next) = folders;
        if watched.as_ref().is_none_or(|(watched, _)| *watched != wanted) {
            let watcher = start_watcher(wake.clone(), &wanted);
            watched = Some((wanted, watcher));
        }
    }
}

/// The folders to watch, without those that do not exist.
fn folders(config: &Config) -> Vec<PathBuf> {
    let mut folders = vec![config.plugin_dir()];
    if config.path.is_file() {
        // A file may be replaced by a rename, so its folder is watched.
        folders.push(config.resolve(Path::new(".")));
    }
    folders.retain(|folder| folder.is_dir());
    folders
}

/// Starts a watcher that sends to `wake` at every event that may be a change. If it cannot be started, only the timer
/// wakes the task.
fn start_watcher(wake: mpsc::Sender<()>, folders: &[PathBuf]) -> Option<RecommendedWatcher> {
    let on_event = move |event: notify::Result<notify::Event>| {
        // A scan reads files. These reads must not wake the task.
        let only_read = matches!(&event, Ok(event) if matches!(event.kind, EventKind::Access(access)
            if access != AccessKind::Close(AccessMode::Write)));
        if !only_read {
            // If the channel is full, the task is woken anyway.
            let _ = wake.try_send(());
        }
    };
    let failed =
        |error: notify::Error| tracing::warn!("file system events are not available, so folders are polled: {error}");
    let mut watcher = notify::recommended_watcher(on_event).map_err(failed).ok()?;
    for folder in folders {
        if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
            tracing::warn!("cannot watch the folder {}, so it is polled: {error}", folder.display());
        }
    }
    Some(watcher)
}

/// The state of the configuration file when it was last read, and while it is being written.
#[derive(Debug, Default)]
struct ConfigFile {
    handled: Option<FileStat>,
    changing: Option<(FileStat, Instant)>,
    /// True after SIGHUP: once no file is being written, the file is read even if it has not changed.
    is_requested: bool,
}

impl ConfigFile {
    /// Returns two flags: true if the file has changed and is completely written, and true if it is still being
    /// written.
    fn check(&mut self, config: &Config) -> (bool, bool) {
        let Some(now) = stat(&config.path) else { return (false, false) };
        // The file may have changed between the start and this first check.
        if *self.handled.get_or_insert(config.seen.unwrap_or(now)) == now {
            self.changing = None;
            return (false, false);
        }
        match self.changing {
            Some((before, since)) if before == now => {
                if is_at_rest(since) {
                    self.handled = Some(now);
                    self.changing = None;
                    return (true, false);
                }
            }
            _ => self.changing = Some((now, Instant::now())),
        }
        (false, true)
    }
}

impl Deployer {
    /// Scans the plugin folder and the configuration file once, and makes the changes. Returns true if something is
    /// still being written.
    async fn scan(&mut self, serving: &Serving, file: &mut ConfigFile) -> bool {
        // Files that are written together are deployed together, after the last file is complete.
        let mut scan = self.folder.scan(&self.config);
        if scan.pending {
            return true;
        }
        let (changed, pending) = file.check(&self.config);
        if pending {
            return true;
        }
        if std::mem::take(&mut file.is_requested) || changed {
            self.read_config(serving).await;
            scan = self.folder.scan(&self.config);
        }
        for found in scan.ready {
            self.deploy_file(serving, &found).await;
        }
        self.note_missing_files(serving, &scan.present);
        scan.pending
    }

    async fn read_config(&mut self, serving: &Serving) {
        if !self.config.path.is_file() {
            tracing::info!("there is no configuration file to reload; the bundled demo continues to be served");
            return;
        }
        let config = Config::load(Some(&self.config.path)).map(|mut config| {
            config.keep_overrides(&self.config);
            config
        });
        match config {
            // `reload` logs a rejected configuration.
            Ok(config) => drop(self.reload(serving, config).await),
            Err(error) => {
                serving.records.metrics.record_reload("refused");
                tracing::warn!(target: "plimsoll::audit", action = "reload", result = "refused",
                    "{error}; the old configuration continues to be served");
            }
        }
    }

    /// Deploys a file of the plugin folder.
    async fn deploy_file(&mut self, serving: &Serving, found: &ComponentFile) {
        let what = found.path.display().to_string();
        match release_of_file(&self.config, found) {
            Ok(release) => {
                let digest = release.artifact.identity.digest.to_string();
                self.remember_handled(serving, &found.name, what.clone(), &digest, found.fingerprint);
                // Before the deployment, so that a release that causes a panic is not tried repeatedly.
                self.folder.mark_handled(found);
                if let Err(ChangeError::Conflict(reason)) = self.deploy(serving, release, "folder").await {
                    // The file is marked as not handled, so that the next scan tries it again.
                    tracing::info!("{reason}");
                    serving.catalog().entry(found.name.clone()).or_default().handled.remove(&what);
                    self.folder.mark_unhandled(found);
                }
            }
            Err(reason) => {
                let version = found.version.as_deref().unwrap_or(UNVERSIONED).into();
                let identity = Identity { name: found.name.as_str().into(), version, digest: "".into() };
                let rejected = RejectedVersion { identity, source: what, reason, at: SystemTime::now(), retry: true };
                self.reject(serving, "folder", rejected);
                self.folder.mark_handled(found);
            }
        }
    }

    /// Retires the plugins whose files are gone. A plugin that a pipeline still needs continues to serve, with a note.
    fn note_missing_files(&mut self, serving: &Serving, present: &[PathBuf]) {
        let mut gone = Vec::new();
        for (name, plugin) in serving.catalog().iter() {
            let Some(ReleaseSource::File(path)) = plugin.serving.as_ref().map(|release| &release.source) else {
                continue;
            };
            if plugin.note.is_none() && !present.contains(path) {
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
