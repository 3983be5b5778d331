//! Asks registries again that could not be asked when a configuration was served: the plugins of these references serve with
//! the version before. Nothing waits for that.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::catalog::NotPulled;
use super::deployer::{ChangeError, Deployer};
use super::deployments::Build;
use super::file_fingerprint::FileFingerprint;
use super::pending_reload::PendingPulls;
use super::pull::{Wanted, is_handled, reference_of};
use super::release::Release;
use super::serving::Serving;

/// The pauses between two attempts. They double.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// When something that failed is tried again.
#[derive(Debug, Default)]
pub(super) struct Pause {
    until: Option<Instant>,
    length: Duration,
}

impl Pause {
    /// Returns true if it is over, or there is none.
    pub(super) fn is_over(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() >= until)
    }

    /// Begins a pause, which is longer than the one before.
    pub(super) fn begin(&mut self) {
        self.length = (self.length * 2).clamp(PAUSES.0, PAUSES.1);
        self.until = Some(Instant::now() + self.length);
    }

    /// The next pause is short again.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

/// The references that are pulled again.
#[derive(Debug, Default)]
pub(super) struct PullAgain {
    pulls: Option<PendingPulls>,
    pause: Pause,
}

impl PullAgain {
    /// Begins the pulls that are due, and deploys what was pulled. Returns the references that are still not pulled, with the
    /// reason.
    pub(super) fn scan(&mut self, build: &Build<'_>, wake: &mpsc::Sender<()>) -> Vec<(PathBuf, String)> {
        let (config, wanted, reasons) = build.change(async |serving, deployer| {
            let (wanted, reasons): (Vec<_>, Vec<_>) = not_pulled(deployer, serving).into_iter().unzip();
            (deployer.config.clone(), wanted, reasons)
        });
        if let Some(pulls) = self.pulls.take() {
            match pulls.finish() {
                Ok(pulled) => {
                    if pulled.is_incomplete() {
                        self.pause.begin();
                    }
                    for (wanted, answer) in pulled.into_answers() {
                        match answer {
                            Ok(release) => deploy(build, &wanted, &release),
                            Err(error) => note(build, &wanted, error.is_temporary.then(|| error.to_string())),
                        }
                    }
                }
                Err(pulls) => self.pulls = Some(*pulls),
            }
        } else if wanted.is_empty() {
            self.pause.reset();
        } else if self.pause.is_over() {
            self.pulls = Some(PendingPulls::begin(build.runtime(), &config, (wanted.clone(), Vec::new()), wake));
        }
        wanted.into_iter().map(|wanted| PathBuf::from(wanted.reference)).zip(reasons).collect()
    }
}

/// The references that must be pulled again, and why they were not pulled.
fn not_pulled(deployer: &Deployer, serving: &Serving) -> Vec<(Wanted, String)> {
    let plugins = serving.catalog();
    let again = plugins.iter().filter_map(|(name, plugin)| {
        let NotPulled { reason, revision } = plugin.not_pulled.clone().filter(|it| it.revision == plugin.revision)?;
        let reference = reference_of(&deployer.config, name)?.to_owned();
        Some((Wanted { plugin: name.clone(), reference, revision: Some(revision) }, reason))
    });
    again.collect()
}

/// Notes why a reference was not pulled; `None` if it is not tried again. It is not, if the plugin has changed meanwhile.
fn note(build: &Build<'_>, wanted: &Wanted, reason: Option<String>) {
    if let Some(plugin) = build.serving().catalog().get_mut(&wanted.plugin) {
        let revision = wanted.revision.unwrap_or_default();
        plugin.not_pulled = reason.filter(|_| plugin.revision == revision).map(|reason| NotPulled { reason, revision });
    }
}

/// Deploys what was pulled, unless the configuration, or another change of the plugin, has overtaken it, or it was handled
/// before, as if the registry had answered at once.
fn deploy(build: &Build<'_>, wanted: &Wanted, release: &Release) {
    let is_due = |deployer: &Deployer, serving: &Serving| {
        reference_of(&deployer.config, &wanted.plugin) == Some(&wanted.reference)
            && serving.catalog().get(&wanted.plugin).is_some_and(|plugin| wanted.revision == Some(plugin.revision))
    };
    let is_new = |serving: &Serving| {
        let plugins = serving.catalog();
        plugins.get(&wanted.plugin).is_some_and(|plugin| !is_handled(&wanted.reference, release, plugin))
    };
    let result = build.make(
        &async |serving, deployer| {
            if is_new(serving) && is_due(deployer, serving) {
                deployer.rehearse_deploy(serving, release).await;
            }
        },
        async |serving, deployer| {
            let mut result = Ok(());
            if is_due(deployer, serving) {
                let digest = release.artifact.identity.digest.to_string();
                if is_new(serving) {
                    result = deployer.deploy(serving, release.clone(), "registry").await.map(drop);
                }
                if !matches!(result, Err(ChangeError::NoCapacity { .. } | ChangeError::NotDurable { .. })) {
                    let (name, what) = (&wanted.plugin, wanted.reference.clone());
                    deployer.remember_handled(serving, name, what, &digest, FileFingerprint::default());
                    deployer.write_journal(serving);
                }
            }
            if let Some(plugin) = serving.catalog().get_mut(&wanted.plugin) {
                plugin.compiling = None;
            }
            result
        },
    );
    match result {
        // `deploy` has logged it.
        Err(error @ (ChangeError::NoCapacity { .. } | ChangeError::NotDurable { .. })) => {
            note(build, wanted, Some(error.to_string()));
        }
        _ => note(build, wanted, None),
    }
}
