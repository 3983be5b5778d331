//! Deploys the files of the plugin folder that a scan found.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use plimsoll_runtime::identity::Identity;

use super::catalog::{RejectedVersion, VersionFigures};
use super::deployer::{ChangeError, Deployer};
use super::deployments::Build;
use super::file_fingerprint::FileFingerprint;
use super::file_order::{check_order, log_skipped, waits_for_canary};
use super::folder_look::{ComponentFile, Look};
use super::newest_release::release_of_file;
use super::release::{FileError, Release};
use super::serving::Serving;
use super::staged_copy::StagedCopy;

/// Why a version in whose deployment the host panicked does not serve.
const PANICKED: &str =
    "the host panicked while it deployed this version; the log says why; deploy it again to try once more";

/// Why a file cannot be deployed now. It is tried again at the next scan.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotDeployed {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// The change cannot be made.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

/// What was done for a file before its deployment.
#[derive(Default)]
pub(super) struct Prepared {
    /// Its release; `None` if it was not read.
    release: Option<Result<Release, FileError>>,
    /// A copy of its component.
    staged: Option<StagedCopy>,
}

impl Prepared {
    pub(super) fn new(release: Result<Release, FileError>, staged: Option<StagedCopy>) -> Self {
        Self { release: Some(release), staged }
    }
}

/// Returns true if a file has bytes that were not handled before, and no newer version serves.
pub(super) fn is_new(serving: &Serving, found: &ComponentFile, look: &Look, release: &Release) -> bool {
    let what = found.path.display().to_string();
    let plugins = serving.catalog();
    let plugin = plugins.get(&found.name);
    plugin.is_none_or(|it| !it.is_handled(&what, release) && check_order(it, release, |it| look.is_gone(it)).is_ok())
}

/// Deploys a file of the plugin folder, unless it has bytes that were handled before or a newer version serves.
///
/// # Errors
/// If it cannot be deployed now.
pub(super) fn deploy_file(
    build: &Build<'_>,
    found: &ComponentFile,
    look: &Look,
    prepared: Prepared,
) -> Result<(), NotDeployed> {
    let (config, was_logged) =
        build.change(async |_, deployer| (deployer.config().clone(), deployer.unreadable.is_logged(&found.path)));
    let Prepared { release, staged } = prepared;
    let release = release.unwrap_or_else(|| release_of_file(&config, found));
    if !FileFingerprint::read(&found.name, &found.path).is_ok_and(|now| now == Some(found.fingerprint)) {
        // It was written while it was read. The next scan finds it again.
        return Ok(());
    }
    let mut rehearsed = None;
    if let Ok(release) = &release
        && is_new(build.serving(), found, look, release)
    {
        if was_logged {
            build.change(async |serving, deployer| deployer.check_change(serving, release).map(drop))?;
            // Keeping a copy may fail at every scan, so it is tried before the release is compiled and logged as a
            // deployment. The lock is only taken if that fails.
            let journal = build.change(async |_, deployer| deployer.journal.clone());
            if journal.is_some_and(|journal| journal.stage(&release.artifact).is_none()) {
                let mut tried = release.clone();
                build.change(async |serving, deployer| deployer.keep(serving, &mut tried).await)?;
            }
        }
        rehearsed = Some(release.clone());
    }
    let staged = Mutex::new(staged);
    build.make(
        &async |serving, deployer| {
            if let Some(release) = &rehearsed {
                let staged = staged.lock().unwrap_or_else(PoisonError::into_inner).take();
                deployer.rehearsed.add_staged(&release.artifact, staged);
                deployer.rehearse_deploy(serving, release).await;
            }
        },
        async |serving, deployer| {
            let result = deployer.deploy_file(serving, found, look, release).await;
            if let Some(plugin) = serving.catalog().get_mut(&found.name) {
                plugin.compiling = None;
            }
            result
        },
    )
}

impl Deployer {
    /// Deploys the release of a file, unless it has bytes that were handled before or a newer version serves.
    ///
    /// # Errors
    /// As [`deploy_file`].
    async fn deploy_file(
        &mut self,
        serving: &Serving,
        found: &ComponentFile,
        look: &Look,
        release: Result<Release, FileError>,
    ) -> Result<(), NotDeployed> {
        let what = found.path.display().to_string();
        let release = match release {
            Ok(release) => release,
            Err(FileError::Unreadable { reason, .. }) => {
                if !self.unreadable.is_logged(&found.path) {
                    let rejected = rejected_file(found, reason.clone());
                    serving.catalog().entry(found.name.clone()).or_default().reject(rejected);
                }
                return Err(NotDeployed::Unreadable(reason));
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
            if let Err(error) = check_order(plugin, &release, |path| look.is_gone(path)) {
                if waits_for_canary(plugin, &release) {
                    let reason = format!("its manifest has changed, and waits for the canary of `{}`", found.name);
                    return Err(ChangeError::Conflict(reason).into());
                }
                drop(plugins);
                self.refuse_older(serving, found, release, error.to_string());
                return Ok(());
            }
            plugin.handled.get(&what).cloned()
        };
        // It waits, for example for a canary: it is not handled, and the log says so once.
        self.check_change(serving, &release)?;
        let digest = release.artifact.identity.digest.to_string();
        self.remember_handled(serving, &found.name, what.clone(), &digest, found.fingerprint);
        // The file is marked before the deployment, so that a release that causes a panic is not tried repeatedly.
        self.folder.mark_handled(found);
        let note = PanicNote::new(serving, found, &release);
        let result = self.deploy(serving, release, "folder").await;
        drop(note);
        if result.as_ref().is_err_and(ChangeError::is_temporary) {
            // The file is marked as not handled, so that the next scan tries it again.
            let mut plugins = serving.catalog();
            let handled = &mut plugins.entry(found.name.clone()).or_default().handled;
            match before {
                Some(before) => drop(handled.insert(what, before)),
                None => drop(handled.remove(&what)),
            }
            drop(plugins);
            self.folder.mark_unhandled(found);
            // `deploy` may have written that the file is handled.
            self.write_journal(serving);
        }
        match result {
            Err(error @ (ChangeError::NotDurable { .. } | ChangeError::NoCapacity { .. })) => Err(error.into()),
            // `deploy` has logged the result.
            _ => Ok(()),
        }
    }

    /// Marks a file as handled, because its bytes were handled before.
    fn skip_file(&mut self, serving: &Serving, found: &ComponentFile, release: &Release) {
        let identity = &release.artifact.identity;
        let what = found.path.display().to_string();
        self.remember_handled(serving, &found.name, what, &identity.digest, found.fingerprint);
        self.folder.mark_handled(found);
        let is_serving = {
            let mut plugins = serving.catalog();
            let plugin = plugins.entry(found.name.clone()).or_default();
            // The note may say that the file is missing.
            plugin.note = None;
            let current = plugin.serving.iter().chain(&plugin.candidate);
            current.map(|release| &release.artifact.identity.digest).any(|digest| *digest == identity.digest)
        };
        if !is_serving {
            log_skipped(found, release);
        }
        self.write_journal(serving);
    }

    /// Rejects a file because a newer version serves. It is not tried again before its bytes change.
    fn refuse_older(&mut self, serving: &Serving, found: &ComponentFile, release: Release, reason: String) {
        let identity = release.artifact.identity;
        let serving_digest = serving
            .catalog()
            .get(&found.name)
            .and_then(|plugin| Some(plugin.serving.as_ref()?.artifact.identity.digest.clone()));
        let what = found.path.display().to_string();
        self.remember_handled(serving, &found.name, what, &identity.digest, found.fingerprint);
        self.folder.mark_handled(found);
        // A copy of the serving version with an older name is not another version.
        if serving_digest.as_ref() != Some(&identity.digest) {
            self.reject(serving, "folder", RejectedVersion { identity, retry: false, ..rejected_file(found, reason) });
        }
        self.write_journal(serving);
    }
}

/// Shows a version in whose deployment the host panics as rejected. Its file is not tried again, and nothing else would say
/// why it does not serve.
struct PanicNote<'a> {
    serving: &'a Serving,
    rejected: Option<RejectedVersion>,
}

impl<'a> PanicNote<'a> {
    fn new(serving: &'a Serving, found: &ComponentFile, release: &Release) -> Self {
        let (identity, reason) = (release.artifact.identity.clone(), PANICKED.to_owned());
        let rejected = RejectedVersion { identity, retry: false, ..rejected_file(found, reason) };
        Self { serving, rejected: Some(rejected) }
    }
}

impl Drop for PanicNote<'_> {
    fn drop(&mut self) {
        if let Some(rejected) = self.rejected.take().filter(|_| std::thread::panicking()) {
            let mut plugins = self.serving.catalog();
            plugins.entry(rejected.identity.name.to_string()).or_default().reject(rejected);
        }
    }
}

/// The entry of a file that is rejected without a deployment.
pub(super) fn rejected_file(found: &ComponentFile, reason: String) -> RejectedVersion {
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
