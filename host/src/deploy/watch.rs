//! Who looks at the plugin folder and at the configuration file: woken by the file system's events where there are
//! any, by the clock where there are none, and by SIGHUP.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::catalog::Refused;
use super::choice::release_of_file;
use super::deployer::{ChangeError, Deployer};
use super::inbox::{Found, Stat, is_at_rest, stat};
use super::release::Source;
use super::workshop::needed;
use crate::app::App;
use crate::config::Config;
use crate::plugin::Identity;

/// How soon a file that is still being written is looked at again.
const SOON: Duration = Duration::from_millis(10);
/// How long after a fault of this program nothing is looked at.
const PAUSE: Duration = Duration::from_secs(2);

/// Looks until the application is gone, and decides trials when they are due. A fault of this program in a change must not
/// end that for all changes after it.
pub async fn watch(app: Weak<App>) {
    // A set, for it ends its task when it is dropped.
    let mut task = JoinSet::new();
    task.spawn(look_on(app.clone()));
    while task.join_next().await.is_some_and(|ended| ended.is_err_and(|error| error.is_panic())) {
        tracing::error!("a change broke off by a fault of this program; folders and trials are looked at again");
        tokio::time::sleep(PAUSE).await;
        task.spawn(look_on(app.clone()));
    }
}

async fn look_on(app: Weak<App>) {
    let Some(due) = app.upgrade().map(|app| Arc::clone(&app.due)) else { return };
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    let (wake, mut woken) = mpsc::channel(1);
    let mut watched: Option<(Vec<PathBuf>, Option<RecommendedWatcher>)> = None;
    let mut file = ConfigFile::default();
    let mut next = SOON;
    loop {
        let mut decide = false;
        tokio::select! {
            _ = woken.recv() => {}
            () = tokio::time::sleep(next) => {}
            _ = hangup.recv() => file.is_asked_for = true,
            () = due.wait() => decide = true,
        }
        let Some(app) = app.upgrade() else { return };
        let folders = app
            .change(async move |app, deployer| {
                if decide {
                    deployer.decide(app).await;
                }
                let pending = deployer.look(app, &mut file).await;
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

/// The folders in which something of interest can change, as far as they exist.
fn folders(config: &Config) -> Vec<PathBuf> {
    let mut folders = vec![config.plugin_dir()];
    if config.path.is_file() {
        // A file may be replaced by a rename, so its folder is what is watched.
        folders.push(config.resolve(Path::new(".")));
    }
    folders.retain(|folder| folder.is_dir());
    folders
}

/// Wakes at every event that may mean a change. Without a watcher the clock alone wakes.
fn start_watcher(wake: mpsc::Sender<()>, folders: &[PathBuf]) -> Option<RecommendedWatcher> {
    let on_event = move |event: notify::Result<notify::Event>| {
        // Looking is reading, and must not wake itself.
        let only_read = matches!(&event, Ok(event) if matches!(event.kind, EventKind::Access(access)
            if access != AccessKind::Close(AccessMode::Write)));
        if !only_read {
            // A channel that is full wakes anyhow.
            let _ = wake.try_send(());
        }
    };
    let told = |error: notify::Error| tracing::warn!("no events of the file system: {error}; folders are polled");
    let mut watcher = notify::recommended_watcher(on_event).map_err(told).ok()?;
    for folder in folders {
        if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
            tracing::warn!("no events of {}: {error}; it is polled", folder.display());
        }
    }
    Some(watcher)
}

/// What the configuration file looked like when it was last read, and what it looks like while it changes.
#[derive(Debug, Default)]
struct ConfigFile {
    handled: Option<Stat>,
    moving: Option<(Stat, Instant)>,
    /// Whether it is to be read as it is: after SIGHUP, once what is being written is at rest.
    is_asked_for: bool,
}

impl ConfigFile {
    /// Whether the configuration's file has changed and is at rest, and whether it is still changing.
    fn look(&mut self, config: &Config) -> (bool, bool) {
        let Some(now) = stat(&config.path) else { return (false, false) };
        // It may have changed between the first reading of it and this first look.
        if *self.handled.get_or_insert(config.seen.unwrap_or(now)) == now {
            self.moving = None;
            return (false, false);
        }
        match self.moving {
            Some((seen, since)) if seen == now => {
                if is_at_rest(since) {
                    self.handled = Some(now);
                    self.moving = None;
                    return (true, false);
                }
            }
            _ => self.moving = Some((now, Instant::now())),
        }
        (false, true)
    }
}

impl Deployer {
    /// Looks once at everything, and changes what has to be. Gives whether something is still being written.
    async fn look(&mut self, app: &App, file: &mut ConfigFile) -> bool {
        // A burst is waited for as a whole, so that what belongs together is deployed together.
        let mut look = self.inbox.look(&self.config);
        if look.pending {
            return true;
        }
        let (changed, pending) = file.look(&self.config);
        if pending {
            return true;
        }
        if std::mem::take(&mut file.is_asked_for) || changed {
            self.read_config(app).await;
            look = self.inbox.look(&self.config);
        }
        for found in look.ready {
            self.take(app, &found).await;
        }
        self.note_gone(app, &look.present);
        look.pending
    }

    async fn read_config(&mut self, app: &App) {
        if !self.config.path.is_file() {
            tracing::info!("there is no configuration file to read again; the bundled demo is served on");
            return;
        }
        let config = Config::load(Some(&self.config.path)).map(|mut config| {
            config.keep_overrides(&self.config);
            config
        });
        match config {
            // What is refused is logged where it is.
            Ok(config) => drop(self.reload(app, config).await),
            Err(error) => {
                app.recorder.metrics.reload("refused");
                tracing::warn!(target: "plimsoll::audit", action = "reload", result = "refused",
                    "{error}; what was served is served on");
            }
        }
    }

    /// Deploys a file of the inbox.
    async fn take(&mut self, app: &App, found: &Found) {
        let what = found.path.display().to_string();
        match release_of_file(&self.config, found) {
            Ok(release) => {
                let digest = release.artifact.identity.digest.to_string();
                self.seen(app, &found.name, what.clone(), &digest, found.fingerprint);
                // Before it, so that a fault of this program in it is not met again and again.
                self.inbox.handled(found);
                if let Err(ChangeError::Conflict(reason)) = self.deploy(app, release, "folder").await {
                    // It is not handled, so the next look tries again.
                    tracing::info!("{reason}");
                    app.catalog().entry(found.name.clone()).or_default().seen.remove(&what);
                    self.inbox.again(found);
                }
            }
            Err(reason) => {
                let version = found.version.as_deref().unwrap_or("unversioned").into();
                let identity = Identity { name: found.name.as_str().into(), version, digest: "".into() };
                let refused = Refused { identity, source: what, reason, at: SystemTime::now(), retry: true };
                self.refuse(app, "folder", refused);
                self.inbox.handled(found);
            }
        }
    }

    /// A file that is gone retires its plugin, unless a pipeline still needs it.
    fn note_gone(&mut self, app: &App, present: &[PathBuf]) {
        let mut gone = Vec::new();
        for (name, plugin) in app.catalog().iter() {
            let Some(Source::File(path)) = plugin.serving.as_ref().map(|release| &release.source) else { continue };
            if plugin.note.is_none() && !present.contains(path) {
                gone.push((name.clone(), path.clone()));
            }
        }
        for (name, path) in gone {
            match needed(&self.config).remove(name.as_str()) {
                Some(users) => {
                    let note = format!(
                        "its file {} is gone; it serves on, for the pipeline `{}` needs it",
                        path.display(),
                        users.join("`, `")
                    );
                    tracing::warn!(plugin = name, "{note}");
                    app.catalog().entry(name).or_default().note = Some(note);
                }
                None => {
                    if let Err(error) = self.retire(app, &name, "folder") {
                        tracing::warn!(plugin = name, "{error}");
                    }
                }
            }
        }
    }
}
