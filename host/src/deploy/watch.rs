//! Watches the plugin folder and the configuration file. They are scanned on file system events, on SIGHUP, and
//! periodically, because some file systems send no events.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use plimsoll_runtime::panics::fault_point;
use tokio::sync::mpsc;

use super::deployments::Deployments;
use super::scan::{ConfigFile, scan};
use crate::base::file_access::within_time;
use crate::base::files::{FolderId, folder_id, stat};
use crate::base::{hangup, service_manager};
use crate::config::Config;

/// How soon the folder is scanned again if a file is still being written.
const RESCAN_INTERVAL: Duration = Duration::from_millis(10);
/// How often canaries are checked without a signal.
const CANARY_CHECK: Duration = Duration::from_secs(60);

/// Watches until the deployments are dropped, and decides canaries. If a change panics, its task is restarted, so that
/// later changes are still made.
pub async fn watch(deployments: Weak<Deployments>) {
    let Some(records) = deployments.upgrade().map(|this| Arc::clone(&this.serving.records)) else { return };
    // Canaries are decided also while the watcher compiles.
    tokio::join!(
        records.background.supervise("watcher", || watch_once(deployments.clone())),
        records.background.supervise("canaries", || decide_canaries(deployments.clone())),
    );
}

async fn decide_canaries(deployments: Weak<Deployments>) {
    let Some(signaled) = deployments.upgrade().map(|this| Arc::clone(&this.serving.canary_signal)) else { return };
    loop {
        let Some(deployments) = deployments.upgrade() else { return };
        // First without a signal: a task that panicked has taken the one that it did not follow.
        deployments.change(async |serving, deployer| deployer.decide_canaries(serving).await).await;
        tokio::select! {
            () = signaled.wait() => {}
            () = tokio::time::sleep(CANARY_CHECK) => {}
        }
    }
}

async fn watch_once(deployments: Weak<Deployments>) {
    let (wake, mut woken) = mpsc::channel(1);
    let mut watched: Option<(Vec<WatchedFolder>, Option<RecommendedWatcher>)> = None;
    let mut file = ConfigFile::new(wake.clone());
    let mut next = RESCAN_INTERVAL;
    // True after the service manager was told of a reload.
    let mut is_announced = false;
    loop {
        tokio::select! {
            _ = woken.recv() => {}
            () = tokio::time::sleep(next) => {}
            () = hangup::asked() => {
                file.is_requested = true;
                file.is_signaled = true;
                is_announced = true;
                service_manager::reloading();
            }
        }
        let Some(deployments) = deployments.upgrade() else { return };
        let (wake, metrics) = (wake.clone(), Arc::clone(&deployments.serving.records.metrics));
        let is_written;
        (watched, file, next, is_written) = deployments
            .build(move |build| {
                fault_point("scan");
                let pending = scan(build, &mut file);
                let config = build.change(async |_, deployer| deployer.config().clone());
                let wanted = folders(&config);
                if watched.as_ref().is_none_or(|(watched, _)| *watched != wanted) && can_start_thread() {
                    let watcher = start_watcher(wake, wanted.clone());
                    watched = Some((wanted, watcher));
                }
                (watched, file, if pending { RESCAN_INTERVAL } else { config.deploy.poll }, pending)
            })
            .await;
        metrics.record_scan();
        // A file that cannot be read is tried again, but the service manager does not wait for that.
        if is_announced && !is_written && !file.is_pulling() {
            is_announced = false;
            service_manager::ready("serving");
        }
    }
}

/// A folder to watch. If another folder takes its place, for example a mount, the new one is watched.
type WatchedFolder = (PathBuf, FolderId);

/// The folders to watch, without those that do not exist.
fn folders(config: &Config) -> Vec<WatchedFolder> {
    let mut folders = vec![config.plugin_dir()];
    if stat(&config.path).is_some() {
        // A file may be replaced by a rename, so its folder is watched.
        folders.push(config.resolve(Path::new(".")));
    }
    folders.into_iter().filter_map(|folder| Some((folder.clone(), folder_id(&folder).ok()?))).collect()
}

/// Returns true if a thread can be started. `notify` panics if it cannot start its own; the next scan tries it again.
fn can_start_thread() -> bool {
    let started = std::thread::Builder::new().name("events".to_owned()).spawn(|| ());
    started.is_ok_and(|thread| thread.join().is_ok())
}

/// Starts a watcher that sends to `wake` at every event that may be a change. If it cannot be started, only the timer
/// wakes the task.
fn start_watcher(wake: mpsc::Sender<()>, folders: Vec<WatchedFolder>) -> Option<RecommendedWatcher> {
    let on_event = move |event: notify::Result<notify::Event>| {
        // A scan reads files. These reads must not wake the task.
        let only_read = matches!(&event, Ok(event) if matches!(event.kind, EventKind::Access(access)
            if access != AccessKind::Close(AccessMode::Write)));
        if !only_read {
            // If the channel is full, the task is woken anyway.
            let _ = wake.try_send(());
        }
    };
    let failed = |error: notify::Error| {
        tracing::warn!("file system events are not available, so folders are polled every `deploy.poll`: {error}")
    };
    let mut watcher = notify::recommended_watcher(on_event).map_err(failed).ok()?;
    let first = folders.first()?.0.clone();
    let watching = within_time(&first, move || {
        for (folder, _) in folders {
            if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
                tracing::warn!("cannot watch the folder {}, so it is polled: {error}", folder.display());
            }
        }
        Ok(watcher)
    });
    let not_watched = |error| {
        tracing::warn!(
            "the folder {} cannot be watched, so all folders are polled every `deploy.poll`: {error}",
            first.display()
        )
    };
    watching.map_err(not_watched).ok()
}
