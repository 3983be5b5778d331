//! The state that builds share. Compiled stages, files and recorders that are still in use are reused, so a build
//! creates only the parts that changed.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use plimsoll_runtime::component::{CompiledCache, Preparer};
use plimsoll_runtime::engine::Runtime;
use plimsoll_runtime::identity::digest;
use plimsoll_runtime::lack::Lack;

use super::build_progress::BuildProgress;
use super::built_pipelines::BuiltPipelines;
use super::file_store::FileStore;
use super::known_stages::KnownStages;
use crate::base::{allocator, bundled};
use crate::config::{self, Config};
use crate::records::Records;
use crate::records::background::BackgroundTasks;
use crate::records::recording::{InputRecorder, RecordingRules};

/// The parts of pipelines that later builds can reuse. A clone shares them.
#[derive(Clone)]
pub struct BuildState {
    pub(super) preparer: Arc<Preparer>,
    pub(super) progress: Arc<BuildProgress>,
    pub(super) files: FileStore,
    pub(super) stages: KnownStages,
    /// The pipelines of the last build with these files and recorders.
    pub(super) built: BuiltPipelines,
    /// The recorders by pipeline and table; `None` if inputs are never recorded.
    recorders: Option<HashMap<(String, Keeps), Arc<InputRecorder>>>,
    background: BackgroundTasks,
}

/// A folder in which no recordings can be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep recordings in {}: {error}", folder.display())]
pub(super) struct NoRecorder {
    folder: PathBuf,
    error: io::Error,
}

impl NoRecorder {
    /// Returns true if the host had no room to open the folder. Then it may be tried again.
    pub(super) fn is_temporary(&self) -> bool {
        Lack::of(&self.error).is_some()
    }
}

impl BuildState {
    /// The state for one engine, with the compiled cache that the configuration names. If the cache cannot be opened,
    /// the host compiles at every start and logs a warning. A server compiles shipped plugins quickly at first, if the
    /// configuration says so.
    ///
    /// # Errors
    /// If compiler threads cannot be started, or because of a bug in this program.
    pub fn new(runtime: &Runtime, config: &Config, records: &Records, is_server: bool) -> wasmtime::Result<Self> {
        let cache = match CompiledCache::open(&config.cache_dir(), config.deploy.max_cache.as_u64()) {
            Ok(cache) => Some(Arc::new(cache)),
            Err(reason) => {
                tracing::warn!("cannot use the compiled cache, so plugins are compiled at every start: {reason}");
                None
            }
        };
        let progress = Arc::new(BuildProgress::default());
        let mut preparer = Preparer::new(runtime, cache.clone())?.on_compile({
            let progress = Arc::clone(&progress);
            move |identity| progress.compiling(identity)
        });
        if is_server {
            preparer = preparer.keep_functions();
        }
        if is_server && config.deploy.quick_start {
            preparer = preparer.quick_start(runtime, shipped_plugins(config), allocator::trim)?;
        }
        Ok(Self {
            preparer: Arc::new(preparer),
            progress,
            files: FileStore::new(records.metrics.batches(), records.metrics.model_memory(), cache),
            stages: KnownStages::default(),
            built: BuiltPipelines::default(),
            recorders: None,
            background: records.background.clone(),
        })
    }

    /// Makes later builds record inputs, if the configuration says so. Only a server calls this.
    pub fn record_inputs(&mut self) {
        self.recorders = Some(HashMap::new());
    }

    /// Drops the models and recorders that are no longer configured, and the stages that are no longer in use.
    pub(super) fn retain(&mut self, config: &Config) {
        self.stages.retain_used();
        self.files.retain_files(config);
        if let Some(recorders) = &mut self.recorders {
            recorders.retain(|(name, _), _| config.pipelines.contains_key(name));
        }
    }

    /// Adds the stages of another state that are still in use. Takes over its files and recorders if they are those of a later
    /// configuration: what was read before it must not come back.
    pub(super) fn join(&mut self, other: &Self) {
        if other.files.generation() > self.files.generation() {
            self.files = other.files.clone();
            self.recorders.clone_from(&other.recorders);
            self.built = other.built.clone();
        }
        self.stages.join(&other.stages);
    }

    /// Returns the recorder of a pipeline. An open recorder is reused unless its folder or limits have changed.
    pub(super) fn recorder(
        &mut self,
        config: &Config,
        pipeline: &str,
        keeps: Keeps,
    ) -> Result<Option<Arc<InputRecorder>>, NoRecorder> {
        let Some(open) = &mut self.recorders else { return Ok(None) };
        let key = (pipeline.to_owned(), keeps);
        let Some(rules) = recording_rules(config, pipeline, keeps) else {
            open.remove(&key);
            return Ok(None);
        };
        if let Some(known) = open.get(&key).filter(|known| known.rules == rules) {
            return Ok(Some(Arc::clone(known)));
        }
        let new = InputRecorder::open(&rules, &self.background).map(Arc::new);
        let new = new.map_err(|error| NoRecorder { folder: rules.dir.clone(), error })?;
        open.insert(key, Arc::clone(&new));
        Ok(Some(new))
    }
}

/// What a recorder keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Keeps {
    /// Inputs that need much memory (`record`).
    Peaks,
    /// A share of all requests, with the replies (`capture`).
    Share,
}

/// The folder and limits of a pipeline's recordings or captures; `None` if it keeps none.
fn recording_rules(config: &Config, pipeline: &str, keeps: Keeps) -> Option<RecordingRules> {
    let of = config.pipelines.get(pipeline)?;
    let (dir, max_bytes, max_age) = match keeps {
        Keeps::Peaks => (config.record_dir(pipeline)?, of.record.as_ref()?.max_bytes, of.record.as_ref()?.max_age),
        Keeps::Share => (config.capture_dir(pipeline)?, of.capture.as_ref()?.max_bytes, of.capture.as_ref()?.max_age),
    };
    Some(RecordingRules { dir, max_bytes: max_bytes.as_u64(), max_age, one_line: keeps == Keeps::Share })
}

/// The digests of the shipped plugins that pipelines use.
fn shipped_plugins(config: &Config) -> HashSet<String> {
    let stages = config.pipelines.values().flat_map(config::Pipeline::stages);
    let names: HashSet<_> = stages.map(|(_, stage)| stage.plugin.as_str()).collect();
    names.into_iter().filter_map(|name| Some(digest(bundled::plugin(name)?))).collect()
}
