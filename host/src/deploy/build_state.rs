//! What builds share: compiled stages, files and recorders that are still in use are used again, so a change costs only
//! what it changes.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use plimsoll_runtime::component::{CompiledCache, Preparer};
use plimsoll_runtime::engine::Runtime;
use plimsoll_runtime::stage::StageCore;

use super::file_store::FileStore;
use crate::config::{Config, Record};
use crate::records::metrics::BatchMetrics;
use crate::records::recording::{InputRecorder, RecordingRules};

/// The parts of pipelines that can be used again.
pub struct BuildState {
    pub(super) preparer: Preparer,
    pub(super) files: FileStore,
    /// Every stage that is still in use: by a pipeline that serves, by a version that is kept for rollback, or by the current
    /// build.
    pub(super) stages: Vec<Weak<StageCore>>,
    /// The recorders by pipeline; `None` if inputs are never recorded.
    recorders: Option<HashMap<String, Arc<InputRecorder>>>,
}

impl BuildState {
    /// The state for one engine, with the compiled cache that the configuration names. If the cache cannot be opened, the
    /// host compiles at every start and logs a warning.
    ///
    /// # Errors
    /// If the machine cannot start compiler threads, or because of a bug of this program.
    pub fn new(runtime: &Runtime, config: &Config, batches: BatchMetrics) -> wasmtime::Result<Self> {
        let cache = match CompiledCache::open(&config.cache_dir(), config.deploy.max_cache.as_u64()) {
            Ok(cache) => Some(cache),
            Err(reason) => {
                tracing::warn!("cannot use the compiled cache, so plugins are compiled at every start: {reason}");
                None
            }
        };
        Ok(Self {
            preparer: Preparer::new(runtime, cache)?,
            files: FileStore::new(batches),
            stages: Vec::new(),
            recorders: None,
        })
    }

    /// From now on pipelines record inputs, if the configuration says so. Only a server calls this.
    pub fn record_inputs(&mut self) {
        self.recorders = Some(HashMap::new());
    }

    /// Drops what no configured pipeline or model uses.
    pub(super) fn retain(&mut self, config: &Config) {
        self.stages.retain(|stage| stage.strong_count() > 0);
        self.files.retain_models(config);
        if let Some(recorders) = &mut self.recorders {
            recorders.retain(|name, _| config.pipelines.contains_key(name));
        }
    }

    /// The recorder of a pipeline: the open one, unless its limits have changed.
    pub(super) fn recorder(&mut self, config: &Config, pipeline: &str) -> Result<Option<Arc<InputRecorder>>, String> {
        let Some(open) = &mut self.recorders else { return Ok(None) };
        let Some(rules) = recording_rules(config, pipeline) else {
            open.remove(pipeline);
            return Ok(None);
        };
        if let Some(known) = open.get(pipeline).filter(|known| known.rules == rules) {
            return Ok(Some(Arc::clone(known)));
        }
        let new = InputRecorder::open(&rules).map(Arc::new);
        let new = new.map_err(|error| format!("cannot keep recordings in {}: {error}", rules.dir.display()))?;
        open.insert(pipeline.to_owned(), Arc::clone(&new));
        Ok(Some(new))
    }
}

/// The limits of a pipeline's recordings; `None` if it records nothing.
fn recording_rules(config: &Config, pipeline: &str) -> Option<RecordingRules> {
    let Record { max_bytes, max_age, .. } = config.pipelines.get(pipeline)?.record.as_ref()?;
    let dir = config.record_dir(pipeline)?;
    Some(RecordingRules { dir, max_bytes: max_bytes.as_u64(), max_age: *max_age })
}
