//! The deployer admits releases and replaces the served pipelines. A change happens completely or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use plimsoll_runtime::component::exports::Interface;
use plimsoll_runtime::component::{ComponentError, Rejection};
use plimsoll_runtime::identity::Identity;
use plimsoll_runtime::stage::StageCore;

use super::build_error::BuildError;
use super::catalog::{RejectedVersion, VersionFigures};
pub use super::change_error::{ChangeError, DeployedState};
use super::file_fingerprint::FileFingerprint;
use super::journal::Journal;
use super::journal_state::HandledFile;
use super::journal_writer::JournalWriter;
use super::lost_copies::LostCopies;
use super::needed::{is_needed, users_of};
use super::pipeline_build::Selection;
use super::pipeline_builder::{PipelineBuilder, Pipelines};
use super::plugin_folder::PluginFolder;
use super::rehearsed::Rehearsed;
use super::release::Release;
use super::serving::{Route, Served, Serving};
use super::unreadable::Unreadable;
use crate::config::{self, Config};

/// Makes changes. There is a single deployer, behind the lock of [`super::Deployments`].
pub struct Deployer {
    pub(super) config: Arc<Config>,
    pub(super) builder: PipelineBuilder,
    /// `None` if deployments are not remembered, because there is no server.
    pub(super) journal: Option<Arc<Journal>>,
    /// Writes the journal. Changes only hand in their states.
    pub(super) writer: Option<Arc<JournalWriter>>,
    /// The journal for which a rehearsal writes copies of components.
    pub(super) staging: Option<Arc<Journal>>,
    pub(super) folder: PluginFolder,
    pub(super) unreadable: Unreadable,
    pub(super) lost_copies: Arc<LostCopies>,
    /// Candidates whose canaries are being resumed. They are in no catalog meanwhile, and the journal still names them.
    pub(super) resuming: BTreeMap<String, Arc<Release>>,
    /// Pipelines that are configured but unloaded; `config` does not contain them.
    pub(super) unloaded: BTreeMap<String, config::Pipeline>,
    /// What the rehearsal of the present change found.
    pub(super) rehearsed: Rehearsed,
    /// True for the copy of a rehearsal.
    pub(super) is_rehearsal: bool,
}

impl Deployer {
    /// The configuration that is served.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Frees the memory that only the change needed. Returns true if something was compiled. Call after every change.
    pub(super) fn finish_build(&self) -> bool {
        self.builder.preparer().finish_build()
    }

    /// Admits a release and makes it serve, or begins its canary. `by` is the origin of the change, for the audit log.
    ///
    /// # Errors
    /// If the release is rejected. The old version continues to serve.
    pub async fn deploy(
        &mut self,
        serving: &Serving,
        release: Release,
        by: &str,
    ) -> Result<DeployedState, ChangeError> {
        let started = self.rehearsed.started();
        let identity = release.artifact.identity.clone();
        if let Some(plugin) = serving.catalog().get_mut(&*identity.name) {
            // The rehearsal has set it, and does not reset it if it panicked.
            plugin.compiling = None;
        }
        self.adopt_rehearsal();
        let source = release.source.to_string();
        serving.catalog().entry(identity.name.to_string()).or_default().compiling = Some(identity.clone());
        let candidate = serving.catalog().get(&*identity.name).and_then(|plugin| plugin.candidate.clone());
        let result = self.admit(serving, release).await;
        if let (Ok(DeployedState::Canary | DeployedState::Serving), Some(candidate)) = (&result, candidate) {
            self.replace_candidate(serving, &candidate, by, &identity);
        }
        let milliseconds = started.elapsed().as_millis() as u64;
        {
            let mut plugins = serving.catalog();
            let plugin = plugins.entry(identity.name.to_string()).or_default();
            plugin.compiling = None;
            if result.is_ok() {
                plugin.note = None;
                plugin.rejected.retain(|rejected| rejected.identity.digest != identity.digest);
            }
        }
        match &result {
            Ok(state) => {
                audit(by, "deploy", &identity, &format!("{} after {milliseconds} ms", state.as_str()));
                serving.records.metrics.record_deployment(&identity.name, state.as_str());
            }
            Err(ChangeError::Rejected { reason, .. }) => {
                let (reason, at) = (reason.clone(), SystemTime::now());
                let figures = VersionFigures::default();
                self.reject(serving, by, RejectedVersion { identity, source, reason, at, retry: true, figures });
            }
            Err(other) => audit_rejection(by, "deploy", &identity, &other.to_string()),
        }
        self.write_journal(serving);
        result
    }

    /// Records a rejected version in the log, in `GET /v1/plugins` and in a metric.
    pub(super) fn reject(&self, serving: &Serving, by: &str, rejected: RejectedVersion) {
        audit_rejection(by, "deploy", &rejected.identity, &rejected.reason);
        serving.records.metrics.record_deployment(&rejected.identity.name, "refused");
        serving.catalog().entry(rejected.identity.name.to_string()).or_default().reject(rejected);
    }

    /// Checks if a release can be deployed now, before anything is built. Returns a state if there is nothing to do.
    pub(super) fn check_change(
        &self,
        serving: &Serving,
        release: &Release,
    ) -> Result<Option<DeployedState>, ChangeError> {
        let name = &*release.artifact.identity.name;
        let known = serving.catalog().get(name).and_then(|plugin| plugin.serving.clone());
        if let Some(known) = known {
            let is_same = known.artifact.identity == release.artifact.identity;
            if is_same && known.manifest.text == release.manifest.text {
                return Ok(Some(DeployedState::Unchanged));
            }
        }
        let served = serving.served.load();
        for user in self.users_with_canary(name) {
            let other = served.routes.get(&user).and_then(|route| route.canary.as_ref()).map(|canary| canary.plugin());
            if let Some(other) = other.filter(|other| ***other != *name) {
                return Err(ChangeError::Conflict(format!(
                    "pipeline `{user}` has a canary of plugin `{other}`, which must be decided before plugin `{name}` \
                     is deployed"
                )));
            }
        }
        Ok(None)
    }

    /// The pipelines that use a plugin and put its new versions on canary. An unloaded pipeline is one of them: its
    /// canary begins when it is loaded, so an unload does not bypass the canary.
    pub(super) fn users_with_canary(&self, name: &str) -> Vec<String> {
        let pipelines = self.config.pipelines.iter().chain(&self.unloaded);
        let with_canary = pipelines.filter(|(_, pipeline)| pipeline.canary.is_some() && pipeline.uses(name));
        with_canary.map(|(user, _)| user.clone()).collect()
    }

    async fn admit(&mut self, serving: &Serving, mut release: Release) -> Result<DeployedState, ChangeError> {
        if let Some(state) = self.check_change(serving, &release)? {
            return Ok(state);
        }
        let name = release.artifact.identity.name.to_string();
        let rejected = |error: BuildError| ChangeError::of_build(&name, &error);
        self.keep(serving, &mut release).await?;
        let release = Arc::new(release);
        let mut held = Vec::new();
        self.try_release(serving, &release, &mut held).await?;
        self.write_ahead(serving, &release).await?;
        let is_first = serving.catalog().get(&name).is_none_or(|plugin| plugin.serving.is_none());
        if !self.users_with_canary(&name).is_empty() && !is_first {
            let mut candidates = candidates(serving);
            candidates.retain(|(other, _)| *other != name);
            candidates.push((name.clone(), Arc::clone(&release)));
            let selection = self.selection(serving);
            let served = self.build_served(serving, &selection, &candidates, &mut held).await.map_err(rejected)?;
            let mut plugins = serving.catalog();
            serving.served.store(Arc::new(served));
            let plugin = plugins.entry(name.clone()).or_default();
            plugin.readmit(&release.artifact.identity.digest);
            plugin.candidate = Some(release);
            plugin.begin_revision();
            return Ok(DeployedState::Canary);
        }
        self.promote(serving, &name, release, &mut held).await.map_err(rejected)?;
        let is_used = is_needed(&self.config, &name);
        Ok(if is_used { DeployedState::Serving } else { DeployedState::Unused })
    }

    /// Checks a plugin that no pipeline uses against the worlds of the stages that it exports.
    pub(super) fn check_unused(&self, release: &Release) -> Result<(), ComponentError> {
        let rejected = |reason| ComponentError { plugin: release.artifact.identity.name.to_string(), reason };
        let bytes = release.artifact.component().map_err(|error| rejected(error.into()))?;
        let interface = Interface::read(&bytes);
        // What exports no stage is not compiled, which may take minutes. About damaged bytes the compiler says more.
        if interface.as_ref().is_ok_and(|interface| interface.kinds().is_empty()) {
            return Err(rejected(Rejection::NoStage));
        }
        let component = self.builder.preparer().compile(&release.artifact)?;
        let kinds = interface.map_err(|error| rejected(Rejection::Exports(error)))?.kinds();
        let link = |kind| self.builder.preparer().link(&component, kind).map(drop);
        kinds.into_iter().try_for_each(link).map_err(rejected)
    }

    /// Makes a release the serving one. The release before it stays ready for a rollback.
    pub(super) async fn promote(
        &mut self,
        serving: &Serving,
        name: &str,
        release: Arc<Release>,
        held: &mut Vec<Arc<StageCore>>,
    ) -> Result<(), BuildError> {
        let stages = serving.served.load().stages_of(name);
        let mut selection = self.selection(serving);
        selection.insert(name.to_owned(), Arc::clone(&release));
        let others: Vec<_> = candidates(serving).into_iter().filter(|(other, _)| other != name).collect();
        let served = self.build_served(serving, &selection, &others, held).await?;
        // Who has an answer of the new version finds it in the catalog, and the other way round.
        let mut plugins = serving.catalog();
        let before = serving.served.swap(Arc::new(served));
        let plugin = plugins.entry(name.to_owned()).or_default();
        plugin.candidate = None;
        plugin.serve(release, stages, self.config.deploy.keep);
        // What only it used is freed after the lock.
        drop(plugins);
        drop(before);
        Ok(())
    }

    /// Builds the selected versions and the canaries of the candidates. What is served changes when the caller stores it.
    pub(super) async fn build_served(
        &mut self,
        serving: &Serving,
        selection: &Selection,
        candidates: &[(String, Arc<Release>)],
        held: &mut Vec<Arc<StageCore>>,
    ) -> Result<Served, BuildError> {
        let stable = self.builder.build(&self.config, selection, held).await?;
        let mut routes: BTreeMap<_, _> = stable.into_iter().map(|(name, stable)| (name, Route::new(stable))).collect();
        for (name, candidate) in candidates {
            let mut selection = selection.clone();
            selection.insert(name.clone(), Arc::clone(candidate));
            let pipelines: Pipelines = self.builder.build(&self.config, &selection, held).await?;
            for user in users_of(&self.config, name) {
                let pipeline = &pipelines[&user];
                let Some(rules) = pipeline.canary.clone() else { continue };
                let served = serving.served.load();
                let current = served.routes.get(&user).and_then(|route| route.canary.as_ref());
                let identity = &candidate.artifact.identity;
                let canary = match current.filter(|canary| canary.is_of(identity) && canary.is_unchanged_in(pipeline)) {
                    Some(canary) => canary.continued_in(Arc::clone(pipeline)),
                    None => serving.new_canary(Arc::clone(pipeline), identity, rules),
                };
                if let Some(route) = routes.get_mut(&user) {
                    route.canary = Some(Arc::new(canary));
                }
            }
        }
        Ok(Served { routes, unloaded: self.unloaded_models() })
    }

    /// The releases that serve.
    pub(super) fn selection(&self, serving: &Serving) -> Selection {
        let plugins = serving.catalog();
        plugins.iter().filter_map(|(name, plugin)| Some((name.clone(), plugin.serving.clone()?))).collect()
    }

    /// Remembers that a file or a reference was handled.
    pub(super) fn remember_handled(
        &self,
        serving: &Serving,
        name: &str,
        what: String,
        digest: &str,
        fingerprint: FileFingerprint,
    ) {
        let handled = HandledFile { digest: digest.to_owned(), fingerprint };
        serving.catalog().entry(name.to_owned()).or_default().handled.insert(what, handled);
    }
}

/// The versions on canary, by plugin.
pub(super) fn candidates(serving: &Serving) -> Vec<(String, Arc<Release>)> {
    serving.catalog().iter().filter_map(|(name, plugin)| Some((name.clone(), plugin.candidate.clone()?))).collect()
}

/// Writes a change to the audit log.
pub(super) fn audit(by: &str, action: &str, identity: &Identity, result: &str) {
    let Identity { name, version, digest } = identity;
    tracing::info!(target: "plimsoll::audit", by, action, plugin = %name, %version, %digest, result, "change");
}

/// Writes a rejected change to the audit log.
pub(super) fn audit_rejection(by: &str, action: &str, identity: &Identity, reason: &str) {
    let Identity { name, version, digest } = identity;
    tracing::warn!(target: "plimsoll::audit", by, action, plugin = %name, %version, %digest, result = "refused", "{reason}");
}
