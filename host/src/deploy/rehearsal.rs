//! Rehearsals: the slow parts of a change, on a copy of the deployer and without its lock. They change nothing that is
//! served. [`super::deployments::Build::make`] says how they are used.

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll_runtime::stage::StageCore;

use super::build_error::BuildError;
use super::deployer::{ChangeError, Deployer};
use super::needed::{is_needed, needed, users_of};
use super::pipeline_build::Selection;
use super::pipeline_builder::Pipelines;
use super::pull::Pulled;
use super::read_ahead::ReadAhead;
use super::rehearsed::{Rehearsed, trial_name};
use super::release::Release;
use super::sample::{Tried, run_sample};
use super::serving::Serving;
use super::unreadable::Unreadable;
use crate::config::Config;

impl Deployer {
    /// A copy of the deployer for a rehearsal. `before` is what an earlier rehearsal of the same change found.
    pub(super) fn rehearsal(&self, before: Rehearsed) -> Self {
        let Rehearsed { builder, .. } = &before;
        let builder = match builder {
            Some(known) => {
                let mut builder = known.clone();
                builder.join(&self.builder);
                builder
            }
            None => self.builder.clone(),
        };
        Self {
            config: self.config.clone(),
            builder,
            journal: None,
            writer: None,
            staging: self.journal.clone(),
            folder: self.folder.clone(),
            unreadable: Unreadable::default(),
            lost_copies: Arc::default(),
            resuming: BTreeMap::new(),
            unloaded: self.unloaded.clone(),
            rehearsed: before,
            is_rehearsal: true,
        }
    }

    /// Ends the rehearsal for which this copy was made. Returns what it found.
    pub(super) fn end_rehearsal(self) -> Rehearsed {
        let mut rehearsed = self.rehearsed;
        rehearsed.builder = Some(self.builder);
        rehearsed
    }

    /// Takes over what the rehearsal built. Returns false if there was none. Call it before the change changes anything.
    ///
    /// # Panics
    /// If the rehearsal panicked.
    pub(super) fn adopt_rehearsal(&mut self) -> bool {
        self.rehearsed.resume_panic();
        let Some(mut builder) = self.rehearsed.builder.take() else { return false };
        builder.join(&self.builder);
        self.builder = builder;
        true
    }

    /// Rehearses [`Deployer::deploy`].
    pub async fn rehearse_deploy(&mut self, serving: &Serving, release: &Release) {
        if !matches!(self.check_change(serving, release), Ok(None)) {
            return;
        }
        let identity = release.artifact.identity.clone();
        serving.catalog().entry(identity.name.to_string()).or_default().compiling = Some(identity.clone());
        // A rejected release is remembered, and the deployment reports it.
        let tried = self.try_release(serving, &Arc::new(release.clone()), &mut Vec::new()).await;
        if let (Ok(()), Some(journal)) = (tried, self.staging.as_ref().filter(|_| !release.is_kept())) {
            self.rehearsed.stage(&release.artifact, journal);
        }
    }

    /// Rehearses [`Deployer::load`]. `ahead` has the files that were read before.
    pub(super) async fn rehearse_load(&mut self, serving: &Serving, name: &str, ahead: Arc<ReadAhead>) {
        self.restore(name);
        self.builder.invalidate_files(ahead);
        let _ = self.try_rebuild(serving, &mut Vec::new()).await;
    }

    /// Rehearses [`Deployer::reload`]. `pulled` has the components that the configuration names in registries, `ahead` its
    /// files.
    pub(super) async fn rehearse_reload(
        &mut self,
        serving: &Serving,
        config: Config,
        pulled: Pulled,
        ahead: Arc<ReadAhead>,
    ) {
        self.rehearsed.pulled = pulled;
        self.builder.invalidate_files(ahead);
        let config = Arc::new(self.continued_config(config).0);
        let mut catalog = self.known_releases(serving);
        if self.select(&config, &mut catalog).await.is_err() {
            return;
        }
        let candidates: Vec<_> =
            catalog.iter().filter_map(|(name, plugin)| Some((name.clone(), plugin.candidate.clone()?))).collect();
        let selection: Selection =
            catalog.into_iter().filter_map(|(name, plugin)| Some((name, plugin.serving?))).collect();
        for (name, candidate) in candidates {
            let mut selection = selection.clone();
            selection.insert(name.clone(), candidate);
            let _ = self.try_selection(&config, &selection, Tried::Admitted(&name), &mut Vec::new()).await;
        }
    }

    /// Builds the pipelines with a release, and runs their samples. Nothing is served with it yet.
    pub(super) async fn try_release(
        &mut self,
        serving: &Serving,
        release: &Arc<Release>,
        held: &mut Vec<Arc<StageCore>>,
    ) -> Result<(), ChangeError> {
        let name = release.artifact.identity.name.to_string();
        let rejected = |error: BuildError| ChangeError::of_build(&name, &error);
        let config = self.config.clone();
        if !is_needed(&config, &name) {
            self.try_unused(release).map_err(rejected)?;
        }
        let mut selection = self.selection(serving);
        selection.insert(name.clone(), Arc::clone(release));
        // A canary that begins again was admitted before, or came with a configuration.
        let tried = if self.resuming.contains_key(&name) { Tried::Admitted(&name) } else { Tried::New(&name) };
        self.try_selection(&config, &selection, tried, held).await.map_err(rejected)?;
        Ok(())
    }

    /// Builds pipelines and runs the samples of what is tried. What the rehearsal has tried is not tried again.
    pub(super) async fn try_selection(
        &mut self,
        config: &Arc<Config>,
        selection: &Selection,
        tried: Tried<'_>,
        held: &mut Vec<Arc<StageCore>>,
    ) -> Result<Pipelines, BuildError> {
        let trial = trial_name(selection, needed(config).into_keys(), tried);
        let known = self.rehearsed.trial(&trial);
        if let Some(Err(error)) = known {
            return Err(error);
        }
        let result = self.build_and_sample(config, selection, tried, known.is_some(), held).await;
        self.rehearsed.held.extend(held.iter().cloned());
        self.rehearsed.record_trial(trial, &result);
        result
    }

    async fn build_and_sample(
        &mut self,
        config: &Arc<Config>,
        selection: &Selection,
        tried: Tried<'_>,
        is_sampled: bool,
        held: &mut Vec<Arc<StageCore>>,
    ) -> Result<Pipelines, BuildError> {
        let pipelines = self.builder.build(config, selection, held).await?;
        let users = tried.plugin().map(|plugin| users_of(config, plugin));
        let is_sampled = |name: &String| is_sampled || users.as_ref().is_some_and(|users| !users.contains(name));
        for (_, pipeline) in pipelines.iter().filter(|(name, _)| !is_sampled(name)) {
            run_sample(pipeline, tried).await.map_err(|failed| {
                // The reason names the pipeline.
                let key = if tried.plugin().is_some() { String::new() } else { failed.key };
                BuildError::for_plugin(&failed.plugin, key, failed.reason).temporary(failed.is_temporary)
            })?;
        }
        Ok(pipelines)
    }

    /// Checks a plugin that no pipeline uses.
    fn try_unused(&mut self, release: &Release) -> Result<(), BuildError> {
        let trial = format!("unused {}", release.artifact.identity.digest);
        if let Some(known) = self.rehearsed.trial(&trial) {
            return known;
        }
        let result = self
            .check_unused(release)
            .map_err(|error| BuildError::new("", error.to_string()).temporary(error.reason.is_temporary()));
        self.rehearsed.record_trial(trial, &result);
        result
    }
}
