//! The changes: a release is admitted, and what is served is exchanged. Each either happens whole or not at all.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};
use std::time::{Instant, SystemTime};

use super::canary::Trial;
use super::catalog::{Catalog, Refused};
use super::inbox::{Fingerprint, Inbox};
use super::journal::{Book, Journal, Seen};
use super::release::Release;
use super::smoke;
use super::workshop::{BuildError, Pipelines, Selection, Workshop, needed};
use crate::app::{App, Route, Served};
use crate::config::Config;
use crate::plugin::{Identity, Kind};
use crate::stage::Stage;

/// Makes changes; there is one, and whoever changes something holds it.
pub struct Deployer {
    pub(super) config: Config,
    pub(super) workshop: Workshop,
    /// `None` where nothing is remembered: for one request without a server, or on a disk that cannot be written to.
    pub(super) journal: Option<Journal>,
    pub(super) inbox: Inbox,
    /// Pipelines that are configured and were unloaded; `config` does not have them.
    pub(super) unloaded: BTreeMap<String, crate::config::Pipeline>,
}

/// What became of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Deployed {
    /// It answers requests.
    Serving,
    /// It is on trial.
    Canary,
    /// It was admitted, but no pipeline uses it.
    Unused,
    /// It was serving already.
    Unchanged,
}

/// Why a change did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The release does not do.
    #[error("plugin `{plugin}` is refused: {reason}")]
    Refused {
        /// The plugin.
        plugin: String,
        /// One sentence.
        reason: String,
    },
    /// There is no such plugin or version.
    #[error("{0}")]
    NotFound(String),
    /// Something else stands in the way, now.
    #[error("{0}")]
    Conflict(String),
}

impl Deployer {
    /// The configuration that is served.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// To be called after every change: drops what only making it needed. Says whether something was compiled for it.
    pub(crate) fn settle(&self) -> bool {
        self.workshop.preparer().settle()
    }

    /// Admits a release and lets it serve, or begins its trial. `by` is who handed it in, for the audit.
    ///
    /// # Errors
    /// The reason of a refusal; the old version serves on.
    pub async fn deploy(&mut self, app: &App, release: Release, by: &str) -> Result<Deployed, ChangeError> {
        let started = Instant::now();
        let identity = release.artifact.identity.clone();
        let source = release.source.to_string();
        catalog(app).entry(identity.name.to_string()).or_default().compiling = Some(identity.clone());
        let result = self.admit(app, release).await;
        let milliseconds = started.elapsed().as_millis() as u64;
        {
            let mut plugins = catalog(app);
            let plugin = plugins.entry(identity.name.to_string()).or_default();
            plugin.compiling = None;
            if result.is_ok() {
                plugin.note = None;
                plugin.refused.retain(|refused| refused.identity.digest != identity.digest);
            }
        }
        match &result {
            Ok(deployed) => {
                audit(by, "deploy", &identity, &format!("{deployed:?} after {milliseconds} ms").to_lowercase());
                app.recorder.metrics.deployment(&identity.name, &format!("{deployed:?}").to_lowercase());
            }
            Err(ChangeError::Refused { reason, .. }) => {
                let (reason, at) = (reason.clone(), SystemTime::now());
                self.refuse(app, by, Refused { identity, source, reason, at, retry: true });
            }
            Err(other) => audit_refusal(by, "deploy", &identity, &other.to_string()),
        }
        self.remember(app);
        result
    }

    /// Records a refusal where people look for it: the log, `GET /v1/plugins` and a metric.
    pub(super) fn refuse(&self, app: &App, by: &str, refused: Refused) {
        audit_refusal(by, "deploy", &refused.identity, &refused.reason);
        app.recorder.metrics.deployment(&refused.identity.name, "refused");
        catalog(app).entry(refused.identity.name.to_string()).or_default().refuse(refused);
    }

    async fn admit(&mut self, app: &App, mut release: Release) -> Result<Deployed, ChangeError> {
        let name = release.artifact.identity.name.to_string();
        let refused = |reason: String| ChangeError::Refused { plugin: name.clone(), reason };
        if let Some(serving) = catalog(app).get(&name).and_then(|plugin| plugin.serving.clone()) {
            let same = serving.artifact.identity == release.artifact.identity;
            if same && serving.manifest.text == release.manifest.text {
                return Ok(Deployed::Unchanged);
            }
        }
        let users = needed(&self.config).remove(name.as_str()).unwrap_or_default();
        if users.is_empty() {
            self.check_unused(&release).map_err(refused)?;
        }
        let trials: Vec<_> = users.iter().filter(|user| self.config.pipelines[*user].canary.is_some()).collect();
        for user in &trials {
            let served = app.served.load();
            let other = served.routes.get(*user).and_then(|route| route.trial.as_ref()).map(|trial| trial.plugin());
            if let Some(other) = other.filter(|other| ***other != *name) {
                let reason =
                    format!("pipeline `{user}` has a trial of `{other}` going on; `{name}` waits for its decision");
                return Err(ChangeError::Conflict(reason));
            }
        }
        if let Some(journal) = &self.journal {
            match journal.keep(release.artifact.clone()) {
                Ok(artifact) => release.artifact = artifact,
                Err(error) => tracing::warn!(plugin = name, "no copy is kept, so a restart forgets it: {error}"),
            }
        }
        let release = Arc::new(release);
        let mut held = Vec::new();
        let mut selection = self.selection(app);
        selection.insert(name.clone(), Arc::clone(&release));
        let pipelines = self.workshop.build(&self.config, &selection, &mut held).await;
        let pipelines = pipelines.map_err(|error| refused(error.to_string()))?;
        for user in &users {
            smoke::run(&pipelines[user], Some(&name)).await.map_err(|failed| refused(failed.reason))?;
        }
        let is_first = catalog(app).get(&name).is_none_or(|plugin| plugin.serving.is_none());
        if !trials.is_empty() && !is_first {
            let mut candidates = candidates(app);
            candidates.retain(|(other, _)| *other != name);
            candidates.push((name.clone(), Arc::clone(&release)));
            let selection = self.selection(app);
            let begun = self.exchange(app, &selection, &candidates, &mut held).await;
            begun.map_err(|error| refused(error.to_string()))?;
            catalog(app).entry(name.clone()).or_default().candidate = Some(release);
            return Ok(Deployed::Canary);
        }
        self.promote(app, &name, release, &mut held).await.map_err(|error| refused(error.to_string()))?;
        Ok(if users.is_empty() { Deployed::Unused } else { Deployed::Serving })
    }

    /// A plugin that no pipeline uses is held against the worlds of the stages that it exports.
    fn check_unused(&self, release: &Release) -> Result<(), String> {
        let component = self.workshop.preparer().compile(&release.artifact).map_err(|error| error.to_string())?;
        let kinds = Kind::of(&component);
        if kinds.is_empty() {
            return Err(
                "it exports none of the three stages `plimsoll:stage/{preprocess,infer,postprocess}@0.1.0`".into()
            );
        }
        kinds.into_iter().try_for_each(|kind| self.workshop.preparer().check(&component, kind))
    }

    /// Makes a release the one that serves; the one before it stays ready.
    pub(super) async fn promote(
        &mut self,
        app: &App,
        name: &str,
        release: Arc<Release>,
        held: &mut Vec<Arc<Stage>>,
    ) -> Result<(), BuildError> {
        let stages = stages_of(&app.served.load(), name);
        let mut selection = self.selection(app);
        selection.insert(name.to_owned(), Arc::clone(&release));
        let others: Vec<_> = candidates(app).into_iter().filter(|(other, _)| other != name).collect();
        self.exchange(app, &selection, &others, held).await?;
        let mut plugins = catalog(app);
        let plugin = plugins.entry(name.to_owned()).or_default();
        plugin.candidate = None;
        let gone = plugin.serve(release, stages, self.config.deploy.keep);
        drop(plugins);
        gone.iter().for_each(|identity| app.recorder.forget(identity));
        Ok(())
    }

    /// Builds the selected versions, and the trials of the candidates, and exchanges them for what is served, in one
    /// step.
    pub(super) async fn exchange(
        &mut self,
        app: &App,
        selection: &Selection,
        candidates: &[(String, Arc<Release>)],
        held: &mut Vec<Arc<Stage>>,
    ) -> Result<(), BuildError> {
        let stable = self.workshop.build(&self.config, selection, held).await?;
        let mut routes: BTreeMap<_, _> =
            stable.into_iter().map(|(name, stable)| (name, Route { stable, trial: None })).collect();
        for (name, candidate) in candidates {
            let mut selection = selection.clone();
            selection.insert(name.clone(), Arc::clone(candidate));
            let pipelines: Pipelines = self.workshop.build(&self.config, &selection, held).await?;
            for user in needed(&self.config).remove(name.as_str()).unwrap_or_default() {
                let pipeline = &pipelines[&user];
                let Some(rules) = pipeline.canary.clone() else { continue };
                let served = app.served.load();
                let going_on = served.routes.get(&user).and_then(|route| route.trial.as_ref());
                let trial = match going_on.filter(|trial| trial.is_of(&candidate.artifact.identity)) {
                    Some(trial) => trial.with(Arc::clone(pipeline)),
                    None => Trial::new(Arc::clone(pipeline), &candidate.artifact.identity, rules, &app.due),
                };
                routes.get_mut(&user).expect("built of the same configuration").trial = Some(Arc::new(trial));
            }
        }
        app.served.store(Arc::new(Served { routes, unloaded: self.unloaded.keys().cloned().collect() }));
        Ok(())
    }

    /// The releases that serve.
    pub(super) fn selection(&self, app: &App) -> Selection {
        let plugins = catalog(app);
        plugins.iter().filter_map(|(name, plugin)| Some((name.clone(), plugin.serving.clone()?))).collect()
    }

    /// Notes that a file or a reference was handled.
    pub(super) fn seen(&self, app: &App, name: &str, what: String, digest: &str, fingerprint: Fingerprint) {
        let seen = Seen { digest: digest.to_owned(), fingerprint };
        catalog(app).entry(name.to_owned()).or_default().seen.insert(what, seen);
    }

    /// Writes the journal.
    pub(super) fn remember(&self, app: &App) {
        let Some(journal) = &self.journal else { return };
        let plugins = catalog(app).iter().map(|(name, plugin)| (name.clone(), plugin.page())).collect();
        if let Err(error) = journal.write(&Book { plugins }) {
            tracing::error!("the journal of deployments cannot be written, so a restart forgets this change: {error}");
        }
    }
}

/// The stages of a plugin in what is served.
pub(super) fn stages_of(served: &Served, name: &str) -> Vec<Arc<Stage>> {
    let pipelines = served.routes.values().map(|route| &route.stable);
    let stages =
        pipelines.flat_map(|pipeline| pipeline.stages().map(|(_, stage)| Arc::clone(stage)).collect::<Vec<_>>());
    stages.filter(|stage| &*stage.plugin.name == name).collect()
}

pub(super) fn candidates(app: &App) -> Vec<(String, Arc<Release>)> {
    catalog(app).iter().filter_map(|(name, plugin)| Some((name.clone(), plugin.candidate.clone()?))).collect()
}

pub(super) fn catalog(app: &App) -> MutexGuard<'_, Catalog> {
    app.catalog()
}

/// Every change is an event for the audit.
pub(super) fn audit(by: &str, action: &str, identity: &Identity, result: &str) {
    let Identity { name, version, digest } = identity;
    tracing::info!(target: "plimsoll::audit", by, action, plugin = %name, %version, %digest, result, "change");
}

pub(super) fn audit_refusal(by: &str, action: &str, identity: &Identity, reason: &str) {
    let Identity { name, version, digest } = identity;
    tracing::warn!(target: "plimsoll::audit", by, action, plugin = %name, %version, %digest, result = "refused", "{reason}");
}
