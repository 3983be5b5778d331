//! Config → App: everything the configuration names, built and checked before a port opens.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Semaphore;

use crate::config::{self, BackendName, Config, ConfigError};
use crate::engine::Engines;
use crate::http::admission::Admission;
use crate::memory::Recorder;
use crate::nn::{Backend, LoadedModel, ModelSource, onnxruntime::OnnxRuntime, rten::Rten};
use crate::pipeline::Pipeline;
use crate::plugin::{Artifact, Identity, Kind, Preparer, bundled};
use crate::stage::state::Deployment;
use crate::stage::{Limits, Stage};

/// A stage's cap where none is configured: room for a 12-megapixel photo.
pub const MAX_MEMORY: u64 = 256 << 20;
/// A stage's time where none is configured.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// A reply's bytes where none are configured.
pub const MAX_OUTPUT: u64 = 16 << 20;
/// The time of `init` where none is configured: it reads weights.
pub const INIT_DEADLINE: Duration = Duration::from_secs(30);
/// A request's time where none is configured.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

/// Everything that serving needs.
pub struct App {
    /// The pipelines by name.
    pub pipelines: BTreeMap<String, Pipeline>,
    /// The plugins that pipelines use, by name.
    pub plugins: BTreeMap<String, PluginInfo>,
    /// What requests needed.
    pub recorder: Arc<Recorder>,
    /// Who may enter.
    pub admission: Admission,
    /// `[server]`.
    pub server: config::Server,
    /// Kept for its epoch thread and its pool.
    pub engines: Engines,
}

/// A plugin as `GET /v1/plugins` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct PluginInfo {
    /// Name, version, digest.
    #[serde(flatten)]
    pub identity: Identity,
    /// Where its component came from: `bundled` or a path.
    pub source: String,
    /// The component's size in bytes.
    pub bytes: usize,
    /// The stages that run it.
    pub stages: Vec<StageInfo>,
}

/// Where a plugin works, and within which limits.
#[derive(Debug, Clone, Serialize)]
pub struct StageInfo {
    /// The pipeline.
    pub pipeline: String,
    /// `preprocess`, `infer` or `postprocess`.
    pub stage: &'static str,
    /// The chip of an infer stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chip: Option<String>,
    /// The cap in bytes.
    pub max_memory: u64,
    /// The deadline in seconds.
    pub deadline_seconds: f64,
}

impl App {
    /// Builds everything the configuration names.
    ///
    /// # Errors
    /// The first thing that cannot be served: file, key, reason.
    pub async fn build(config: &Config) -> Result<Self, ConfigError> {
        let whole = |reason: String| ConfigError::new(&config.path, "", reason);
        let slots = config.server.max_concurrency;
        let engines = Engines::new(slots).map_err(|error| whole(format!("the engine does not start: {error:#}")))?;
        let preparer = Preparer::new(&engines.engine).map_err(|error| whole(format!("{error:#}")))?;
        let mut builder =
            Builder { config, preparer, backends: HashMap::new(), models: HashMap::new(), plugins: BTreeMap::new() };
        for name in config.plugins.keys() {
            builder
                .artifact(name)
                .map_err(|reason| ConfigError::new(&config.path, format!("plugins.{name}"), reason))?;
        }
        for name in config.models.keys() {
            builder.model(name).map_err(|reason| ConfigError::new(&config.path, format!("models.{name}"), reason))?;
        }
        let mut pipelines = BTreeMap::new();
        for (name, pipeline) in &config.pipelines {
            pipelines.insert(name.clone(), builder.pipeline(name, pipeline).await?);
        }
        let plugins = builder.plugins.into_iter().map(|(name, (_, info))| (name, info)).collect();
        Ok(Self {
            pipelines,
            plugins,
            recorder: Arc::new(Recorder::new()),
            admission: Admission::new(&config.server),
            server: config.server.clone(),
            engines,
        })
    }
}

struct Builder<'a> {
    config: &'a Config,
    preparer: Preparer,
    /// Each with the bound on its concurrent runs.
    backends: HashMap<BackendName, (Box<dyn Backend>, Arc<Semaphore>)>,
    models: HashMap<String, (Arc<LoadedModel>, Arc<Vec<u8>>)>,
    plugins: BTreeMap<String, (Artifact, PluginInfo)>,
}

/// The name by which an infer plugin without a chip of its own reads the file of its model.
const MODEL_ASSET: &str = "model.onnx";

impl Builder<'_> {
    async fn pipeline(&mut self, name: &str, pipeline: &config::Pipeline) -> Result<Pipeline, ConfigError> {
        let path = &self.config.path;
        let key = |rest: &str| format!("pipelines.{name}.{rest}");
        let default_chip = match (&pipeline.default_chip, pipeline.chips.keys().next()) {
            (Some(chip), _) if pipeline.chips.contains_key(chip) => chip.clone(),
            (None, Some(only)) if pipeline.chips.len() == 1 => only.clone(),
            (_, None) => return Err(ConfigError::new(path, key("chips"), "a pipeline needs at least one chip")),
            (chip, _) => {
                let names: Vec<_> = pipeline.chips.keys().map(String::as_str).collect();
                let what = chip.as_ref().map_or("is missing".to_owned(), |chip| format!("there is no chip `{chip}`"));
                return Err(ConfigError::new(
                    path,
                    key("default_chip"),
                    format!("{what}; name one of {}", names.join(", ")),
                ));
            }
        };
        let preprocess = self.stage(name, None, Kind::Preprocess, &pipeline.preprocess, None).await?;
        let mut chips = BTreeMap::new();
        for (chip, stage) in &pipeline.chips {
            let model = stage.model.as_deref().or(pipeline.model.as_deref());
            chips.insert(chip.clone(), self.stage(name, Some(chip), Kind::Infer, stage, model).await?);
        }
        let postprocess = self.stage(name, None, Kind::Postprocess, &pipeline.postprocess, None).await?;
        let deadline = pipeline.deadline.unwrap_or(REQUEST_DEADLINE);
        Ok(Pipeline { name: name.to_owned(), preprocess, chips, default_chip, postprocess, deadline })
    }

    async fn stage(
        &mut self,
        pipeline: &str,
        chip: Option<&str>,
        kind: Kind,
        stage: &config::Stage,
        model: Option<&str>,
    ) -> Result<Stage, ConfigError> {
        let config = self.config;
        let key = match chip {
            Some(chip) => format!("pipelines.{pipeline}.chips.{chip}"),
            None => format!("pipelines.{pipeline}.{}", kind.as_str()),
        };
        let at = |field: &str, reason: String| ConfigError::new(&config.path, format!("{key}.{field}"), reason);

        let artifact = self.artifact(&stage.plugin).map_err(|reason| at("plugin", reason))?;
        if kind != Kind::Infer && stage.model.is_some() {
            return Err(at("model", "only an infer stage has a model".to_owned()));
        }
        let mut settings: BTreeMap<String, String> =
            stage.config.iter().map(|(key, value)| (key.clone(), config::text_of(value))).collect();
        let mut assets = BTreeMap::new();
        for (name, path) in &stage.assets {
            let bytes = config.read(path).map_err(|reason| at(&format!("assets.{name:?}"), reason))?;
            assets.insert(name.clone(), Arc::new(bytes));
        }
        let mut loaded = None;
        if let Some(name) = model {
            let (model, bytes) = self.model(name).map_err(|reason| at("model", reason))?;
            settings.entry("model".to_owned()).or_insert_with(|| name.to_owned());
            assets.entry(MODEL_ASSET.to_owned()).or_insert(bytes);
            loaded = Some((name.to_owned(), model));
        }

        let defaults = config.plugins.get(&stage.plugin);
        let limits = Limits {
            max_memory: stage
                .max_memory
                .or(defaults.and_then(|plugin| plugin.max_memory))
                .map_or(MAX_MEMORY, |size| size.as_u64()),
            deadline: stage.deadline.or(defaults.and_then(|plugin| plugin.deadline)).unwrap_or(DEADLINE),
            init_deadline: defaults.and_then(|plugin| plugin.init_deadline).unwrap_or(INIT_DEADLINE),
            max_output: stage.max_output.map_or(MAX_OUTPUT, |size| size.as_u64()),
        };
        let deployment = Deployment {
            plugin: Arc::clone(&artifact.identity.name),
            config: Arc::new(settings.into_iter().collect()),
            assets: Arc::new(assets),
            model: loaded,
        };
        let ready = self
            .preparer
            .stage(&artifact, kind, limits, deployment)
            .await
            .map_err(|error| at("plugin", error.to_string()))?;
        // A cap under which no instance starts would blame every caller for the deployment's mistake.
        ready.instantiate_only().await.map_err(|error| at("max_memory", format!("no instance starts: {error}")))?;
        let (_, info) = self.plugins.get_mut(&stage.plugin).expect("just looked up");
        info.stages.push(StageInfo {
            pipeline: pipeline.to_owned(),
            stage: kind.as_str(),
            chip: chip.map(str::to_owned),
            max_memory: limits.max_memory,
            deadline_seconds: limits.deadline.as_secs_f64(),
        });
        Ok(ready)
    }

    /// Finds a plugin: the file that `[plugins.NAME]` names, else the plugin folder, else the bundled ones.
    fn artifact(&mut self, name: &str) -> Result<Artifact, String> {
        if let Some((artifact, _)) = self.plugins.get(name) {
            return Ok(artifact.clone());
        }
        let config = self.config;
        let folder = config.resolve(config.plugin_dir.as_deref().unwrap_or(Path::new("plugins")));
        let in_folder = folder.join(format!("{name}.wasm"));
        let (bytes, source) = if let Some(file) = config.plugins.get(name).and_then(|plugin| plugin.file.as_ref()) {
            (config.read(file)?, config.resolve(file).display().to_string())
        } else if in_folder.is_file() {
            let bytes = std::fs::read(&in_folder)
                .map_err(|error| format!("{} cannot be read: {error}", in_folder.display()))?;
            (bytes, in_folder.display().to_string())
        } else if let Some(bytes) = bundled::plugin(name) {
            (bytes.to_vec(), "bundled".to_owned())
        } else {
            let known: Vec<_> = bundled::names().collect();
            return Err(format!(
                "there is no plugin `{name}`: neither {} nor a bundled one ({})",
                in_folder.display(),
                known.join(", ")
            ));
        };
        let artifact = Artifact::new(name, bytes);
        let info =
            PluginInfo { identity: artifact.identity.clone(), source, bytes: artifact.bytes.len(), stages: Vec::new() };
        self.plugins.insert(name.to_owned(), (artifact.clone(), info));
        Ok(artifact)
    }

    fn model(&mut self, name: &str) -> Result<(Arc<LoadedModel>, Arc<Vec<u8>>), String> {
        if let Some(known) = self.models.get(name) {
            return Ok(known.clone());
        }
        let config = self.config;
        let Some(model) = config.models.get(name) else {
            let known: Vec<_> = config.models.keys().map(String::as_str).collect();
            return Err(format!("there is no model `{name}`; declared are [{}]", known.join(", ")));
        };
        let bytes = Arc::new(config.read(&model.file).map_err(|reason| format!("file: {reason}"))?);
        let (backend, runs) = self.backend(model.backend)?;
        let source = ModelSource { name: name.to_owned(), path: model.file.clone(), bytes: Arc::clone(&bytes) };
        let loaded = backend.load(&source).map_err(|error| error.to_string())?;
        let loaded = Arc::new(LoadedModel::new(name.to_owned(), loaded, Arc::clone(runs)));
        self.models.insert(name.to_owned(), (Arc::clone(&loaded), Arc::clone(&bytes)));
        Ok((loaded, bytes))
    }

    fn backend(&mut self, name: BackendName) -> Result<&(Box<dyn Backend>, Arc<Semaphore>), String> {
        if !self.backends.contains_key(&name) {
            let backend: Box<dyn Backend> = match name {
                BackendName::Rten => Box::new(Rten),
                BackendName::OnnxRuntime => {
                    let config::OnnxRuntime { library, threads } = self.config.backends.onnxruntime.clone();
                    let library = library.map(|path| self.config.resolve(&path));
                    Box::new(OnnxRuntime::new(library, threads.unwrap_or(1)).map_err(|error| error.to_string())?)
                }
            };
            // More runs than cores only make each other slower.
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            self.backends.insert(name, (backend, Arc::new(Semaphore::new(cores))));
        }
        Ok(&self.backends[&name])
    }
}
