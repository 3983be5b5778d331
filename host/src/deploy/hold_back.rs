//! New versions that a configuration or a start brings, in pipelines with a canary: the version before serves, and the canary
//! of the new one begins. So a canary holds for every way in which a version comes into a server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use plimsoll_runtime::stage::StageCore;

use super::build_error::BuildError;
use super::catalog::{CatalogEntry, RejectedVersion, VersionFigures};
use super::deployer::Deployer;
use super::pipeline_build::Selection;
use super::pipeline_builder::Pipelines;
use super::release::Release;
use super::release_selection::Choice;
use super::sample::Tried;
use crate::config::Config;

impl Deployer {
    /// Makes the new releases candidates whose plugins have a version before and are used by a pipeline with a canary. Returns
    /// the pipelines with the versions before; `None` if there is no such release. If the versions before cannot be served
    /// with the configuration, the new ones serve at once, and the log says so.
    ///
    /// # Errors
    /// If the host has no room to build the pipelines now.
    pub(super) async fn hold_back(
        &mut self,
        config: &Arc<Config>,
        choices: &mut BTreeMap<String, Choice>,
        held: &mut Vec<Arc<StageCore>>,
    ) -> Result<Option<Pipelines>, BuildError> {
        let with_canary = |name: &str| {
            let mut pipelines = config.pipelines.values().chain(self.unloaded.values());
            pipelines.any(|pipeline| pipeline.canary.is_some() && pipeline.uses(name))
        };
        let before: Selection = choices
            .iter()
            .filter(|(name, _)| with_canary(name))
            .filter_map(|(name, choice)| {
                let last = choice.last.as_ref().filter(|last| !is_same(last, &choice.newest))?;
                Some((name.clone(), Arc::clone(last)))
            })
            .collect();
        if before.is_empty() {
            return Ok(None);
        }
        // A new version is compared with the one before, so the code of both must be as good.
        self.builder.preparer().optimise_now().await;
        let newest = choices.iter().map(|(name, choice)| (name, &choice.newest));
        let selection: Selection =
            newest.map(|(name, newest)| (name.clone(), Arc::clone(before.get(name).unwrap_or(newest)))).collect();
        let pipelines = match self.try_selection(config, &selection, Tried::All, held).await {
            Ok(pipelines) => pipelines,
            Err(error) if error.is_temporary => return Err(error),
            Err(error) => {
                if !self.is_rehearsal {
                    let plugins = before.keys().cloned().collect::<Vec<_>>().join("`, `");
                    tracing::warn!(
                        "the new versions of `{plugins}` serve at once, without a canary, because the versions before do \
                         not work with this configuration: {error}"
                    );
                }
                return Ok(None);
            }
        };
        for (name, last) in before {
            if let Some(choice) = choices.get_mut(&name) {
                let newest = std::mem::replace(&mut choice.newest, last);
                if self.is_rehearsal {
                    // What its canary needs, so that it begins without a compiler.
                    let mut selection = selection.clone();
                    selection.insert(name.clone(), Arc::clone(&newest));
                    let _ = self.try_selection(config, &selection, Tried::Admitted(&name), held).await;
                }
                choice.candidate = Some(newest);
            }
        }
        Ok(Some(pipelines))
    }
}

impl CatalogEntry {
    /// Makes a release the candidate. Its canary begins when the canaries are resumed. An undecided one ends.
    pub(super) fn put_on_canary(&mut self, release: Arc<Release>) {
        if self.candidate.as_ref().is_some_and(|candidate| is_same(candidate, &release)) {
            return;
        }
        let identity = &release.artifact.identity;
        let digest = &identity.digest;
        if let Some(replaced) = self.candidate.take().filter(|other| other.artifact.identity.digest != *digest) {
            self.reject(RejectedVersion {
                identity: replaced.artifact.identity.clone(),
                source: replaced.source.to_string(),
                reason: replaced_by(&identity.version),
                at: SystemTime::now(),
                retry: false,
                figures: VersionFigures::default(),
            });
        }
        self.readmit(&release.artifact.identity.digest);
        self.candidate = Some(release);
        self.begin_revision();
    }
}

/// Returns true if two releases are the same version with the same manifest, perhaps from different sources.
fn is_same(one: &Release, other: &Release) -> bool {
    one.artifact.identity == other.artifact.identity && one.manifest.text == other.manifest.text
}

/// Why a canary ended undecided.
pub(super) fn replaced_by(version: &str) -> String {
    format!("version {version} replaced it before its canary was decided")
}
