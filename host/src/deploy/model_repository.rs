//! Unloads pipelines and loads them again, for the repository extension of the Open Inference Protocol.

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll_runtime::stage::StageCore;
use plimsoll_runtime::text::{listed, shortened};

use super::build_error::BuildError;
use super::deployer::{ChangeError, Deployer, candidates};
use super::deployments::Build;
use super::sample::{Tried, run_sample};
use super::serving::Serving;
use crate::config::{self, Config};

impl Deployer {
    /// Takes a pipeline out of service. Running requests are completed. The pipeline stays unloaded until it is loaded
    /// again or the process ends.
    ///
    /// # Errors
    /// If there is no such pipeline.
    pub async fn unload(&mut self, serving: &Serving, name: &str, by: &str) -> Result<(), ChangeError> {
        if self.unloaded.contains_key(name) {
            return Ok(());
        }
        if !self.config.pipelines.contains_key(name) {
            return Err(self.unknown(name));
        }
        let pipeline = Arc::make_mut(&mut self.config).pipelines.remove(name).ok_or_else(|| self.unknown(name))?;
        self.unloaded.insert(name.to_owned(), pipeline);
        if let Err(reason) = self.rebuild(serving).await {
            self.restore(name);
            return Err(not_changed("unload", name, &reason));
        }
        tracing::info!(target: "plimsoll::audit", by, action = "unload", pipeline = name, "change");
        Ok(())
    }

    /// Runs [`Deployer::load`] after a rehearsal. Its files are read beforehand, so that no change waits for a disk.
    ///
    /// # Errors
    /// As [`Deployer::load`].
    pub fn make_load(build: &Build<'_>, name: &str, by: &str) -> Result<(), ChangeError> {
        let config = build.change(async |_, deployer| {
            let mut config = Config::clone(&deployer.config);
            let unloaded = deployer.unloaded.get_key_value(name);
            config.pipelines.extend(unloaded.map(|(name, pipeline)| (name.clone(), pipeline.clone())));
            config.pipelines.contains_key(name).then_some(config)
        });
        // Without such a pipeline, the change reports it.
        let ahead = config.map(|config| build.read_ahead(&config)).unwrap_or_default();
        build.make(
            &async |serving, deployer| deployer.rehearse_load(serving, name, Arc::clone(&ahead)).await,
            async |serving, deployer| deployer.load(serving, name, by).await,
        )
    }

    /// Puts a pipeline into service again, or builds it again with the current files.
    ///
    /// # Errors
    /// If there is no such pipeline, or it cannot be served; the pipelines served before stay in place.
    pub async fn load(&mut self, serving: &Serving, name: &str, by: &str) -> Result<(), ChangeError> {
        let was_unloaded = self.unloaded.contains_key(name);
        if !was_unloaded && !self.config.pipelines.contains_key(name) {
            return Err(self.unknown(name));
        }
        let before = self.builder.clone();
        if !self.adopt_rehearsal() {
            self.builder.invalidate_files(Arc::default());
        }
        self.restore(name);
        if let Err(reason) = self.rebuild(serving).await {
            self.builder = before;
            if was_unloaded && let Some(pipeline) = Arc::make_mut(&mut self.config).pipelines.remove(name) {
                self.unloaded.insert(name.to_owned(), pipeline);
            }
            tracing::warn!(target: "plimsoll::audit", by, action = "load", pipeline = name, result = "refused", "{reason}");
            return Err(not_changed("load", name, &reason));
        }
        tracing::info!(target: "plimsoll::audit", by, action = "load", pipeline = name, "change");
        Ok(())
    }

    pub(super) fn restore(&mut self, name: &str) {
        if let Some((name, pipeline)) = self.unloaded.remove_entry(name) {
            Arc::make_mut(&mut self.config).pipelines.insert(name, pipeline);
        }
    }

    /// Removes the unloaded pipelines from a new configuration.
    pub(super) fn take_unloaded(&self, config: &mut Config) -> BTreeMap<String, config::Pipeline> {
        self.unloaded.keys().filter_map(|name| config.pipelines.remove_entry(name)).collect()
    }

    /// The unloaded pipelines, with the names of their parts that are models.
    pub(super) fn unloaded_models(&self) -> BTreeMap<String, Vec<String>> {
        let parts = |pipeline: &config::Pipeline| pipeline.models().into_iter().map(str::to_owned).collect();
        self.unloaded.iter().map(|(name, pipeline)| (name.clone(), parts(pipeline))).collect()
    }

    async fn rebuild(&mut self, serving: &Serving) -> Result<(), BuildError> {
        let mut held = Vec::new();
        self.try_rebuild(serving, &mut held).await?;
        let selection = self.selection(serving);
        let candidates = candidates(serving);
        let served = self.build_served(serving, &selection, &candidates, &mut held).await?;
        serving.served.store(Arc::new(served));
        Ok(())
    }

    /// Builds the pipelines with the releases that serve, and runs the samples of those that are different from before.
    pub(super) async fn try_rebuild(
        &mut self,
        serving: &Serving,
        held: &mut Vec<Arc<StageCore>>,
    ) -> Result<(), BuildError> {
        let trial = "rebuild".to_owned();
        if let Some(known) = self.rehearsed.trial(&trial) {
            return known;
        }
        let result = self.build_and_sample_changed(serving, held).await;
        self.rehearsed.held.extend(held.iter().cloned());
        self.rehearsed.record_trial(trial, &result);
        result
    }

    async fn build_and_sample_changed(
        &mut self,
        serving: &Serving,
        held: &mut Vec<Arc<StageCore>>,
    ) -> Result<(), BuildError> {
        let selection = self.selection(serving);
        let pipelines = self.builder.build(&self.config, &selection, held).await?;
        let served = serving.served.load_full();
        for (name, pipeline) in &pipelines {
            // A pipeline with an unchanged version needs no sample.
            if served.routes.get(name).is_none_or(|route| route.stable.version != pipeline.version) {
                let failed = run_sample(pipeline, Tried::All).await;
                failed.map_err(|failed| {
                    BuildError::for_plugin(&failed.plugin, "", failed.reason).temporary(failed.is_temporary)
                })?;
            }
        }
        Ok(())
    }

    fn unknown(&self, name: &str) -> ChangeError {
        let known: Vec<_> = self.config.pipelines.keys().chain(self.unloaded.keys()).map(String::as_str).collect();
        let known = listed(known.into_iter());
        let name = shortened(name);
        ChangeError::NotFound(format!("there is no pipeline `{name}`; the pipelines are {known}"))
    }
}

/// The error of a pipeline that could not be loaded or unloaded.
fn not_changed(what: &str, name: &str, error: &BuildError) -> ChangeError {
    match error.is_temporary {
        true => ChangeError::NoCapacity { what: format!("to {what} pipeline `{name}`"), reason: error.to_string() },
        false => ChangeError::Conflict(format!("cannot {what} pipeline `{name}`: {error}")),
    }
}
