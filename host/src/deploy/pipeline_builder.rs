//! Builds ready-to-run pipelines from a configuration and one release of each plugin.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use plimsoll_runtime::component::Preparer;
use plimsoll_runtime::engine::Runtime;
use plimsoll_runtime::stage::StageCore;

use super::build_error::BuildError;
use super::build_progress::BuildProgress;
use super::build_state::BuildState;
use super::pipeline_build::{PipelineBuild, Selection};
use super::read_ahead::ReadAhead;
use super::served_pipeline::ServedPipeline;
use crate::base::descriptors;
use crate::config::Config;
use crate::records::Records;

/// Pipelines by name.
pub type Pipelines = BTreeMap<String, Arc<ServedPipeline>>;

/// Builds pipelines, and keeps the parts that later builds can reuse. A clone shares these parts.
#[derive(Clone)]
pub struct PipelineBuilder {
    state: BuildState,
}

impl PipelineBuilder {
    /// Creates a builder for one engine. If `is_server` is true, the pipelines record inputs as configured, the first build is
    /// quick, and functions are kept for later versions.
    ///
    /// # Errors
    /// If compiler threads cannot be started, or because of a bug in this program.
    pub fn new(runtime: &Runtime, config: &Config, records: &Records, is_server: bool) -> wasmtime::Result<Self> {
        let mut state = BuildState::new(runtime, config, records, is_server)?;
        if is_server {
            state.record_inputs();
        }
        Ok(Self { state })
    }

    /// The preparer, to check plugins that no pipeline uses yet.
    pub fn preparer(&self) -> &Arc<Preparer> {
        &self.state.preparer
    }

    /// The log lines about what is built.
    pub(super) fn progress(&self) -> &BuildProgress {
        &self.state.progress
    }

    /// Builds every pipeline of the configuration with the selected releases, except those that the last build made of the
    /// same configuration, files and releases. New stages are added to `held`, which keeps them alive, so that a repeated
    /// build can reuse them.
    ///
    /// # Errors
    /// If a pipeline or a model cannot be built, or new stages have left too few file descriptors. The error names all models
    /// that cannot be built, otherwise the first pipeline.
    pub async fn build(
        &mut self,
        config: &Arc<Config>,
        selection: &Selection,
        held: &mut Vec<Arc<StageCore>>,
    ) -> Result<Pipelines, BuildError> {
        let failures: Vec<_> = config
            .models
            .keys()
            .filter_map(|name| Some((format!("models.{name}"), self.state.files.model(config, name).err()?)))
            .collect();
        if let Some(((key, reason), others)) = failures.split_first() {
            let is_temporary = failures.iter().all(|(_, error)| error.is_temporary());
            let others: String = others.iter().map(|(key, reason)| format!("\n{key}: {reason}")).collect();
            return Err(BuildError::new(key, format!("{reason}{others}")).temporary(is_temporary));
        }
        self.state.retain(config);
        let (generation, known) = (self.state.files.generation(), held.len());
        self.state.built.begin(config, generation);
        let mut pipelines = BTreeMap::new();
        for (name, pipeline) in &config.pipelines {
            let built = match self.state.built.find(name, pipeline, selection) {
                Some(built) => built,
                None => {
                    let build = PipelineBuild { state: &mut self.state, config, selection, held, pipeline: name };
                    let built = Arc::new(build.run(pipeline).await?);
                    self.state.built.insert(name, pipeline, selection, &built);
                    built
                }
            };
            pipelines.insert(name.clone(), built);
        }
        // Without any, no connection could be accepted, and no file be written. What needs no new stages is never refused.
        if held.len() > known {
            descriptors::check_left().map_err(|error| BuildError::new("", error.to_string()).temporary(true))?;
        }
        Ok(pipelines)
    }

    /// Makes the next build read every file again, for a new configuration, except those that were read before the change.
    pub(super) fn invalidate_files(&mut self, ahead: Arc<ReadAhead>) {
        self.state.files.invalidate(ahead);
    }

    /// Drops what was read before a change. Call this after the change.
    pub(super) fn forget_read(&mut self) {
        self.state.files.forget_read();
    }

    /// The digests of the models that need not be loaded again for a configuration if their files have not changed.
    pub(super) fn loaded_models(&self, config: &Config) -> HashMap<String, String> {
        self.state.files.loaded_models(config)
    }

    /// Adds the stages of another builder that are still in use, and takes over its files if they are of a later
    /// configuration.
    pub(super) fn join(&mut self, other: &Self) {
        self.state.join(&other.state);
    }
}
