//! Builds one pipeline of the configuration: its chips, and the environment and limits of its stages.

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll_runtime::kind::{StageKind, StageName};
use plimsoll_runtime::nn::{LoadedModel, Signature};
use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::pipeline::{Middle, Pipeline, PipelineParts};
use plimsoll_runtime::stage::{
    Asset, InferStage, Limits, PostprocessStage, PreprocessStage, StageCore, StageEnvironment,
};
use serde_json::json;

use super::build_error::BuildError;
use super::build_state::{BuildState, Keeps};
use super::capture::Capture;
use super::file_store_error::FileStoreError;
use super::pipeline_chips::default_chip;
use super::release::Release;
use super::served_pipeline::ServedPipeline;
use super::shadow::Shadow;
use super::stages::{Stages, misfit};
use crate::base::defaults::{DEADLINE, INIT_DEADLINE, MAX_MEMORY, MAX_OUTPUT, MAX_REQUEST_MEMORY, REQUEST_DEADLINE};
use crate::config::{self, Config};
use crate::records::recording::InputRecorder;

/// The release that serves for each plugin.
pub type Selection = BTreeMap<String, Arc<Release>>;

/// The asset name under which an infer plugin that runs its model itself reads the model's file.
const MODEL_ASSET: &str = "model.onnx";

/// The asset from which a preprocess or postprocess plugin reads what the model declares, see `plimsoll_sdk::model`.
const DECLARED_ASSET: &str = "plimsoll/model.json";

/// The plugins whose inputs and outputs are those of the model. Others may change them.
const UNCHANGED: [&str; 2] = ["infer-native", "infer-wasm"];

/// The build of one pipeline.
pub(super) struct PipelineBuild<'a> {
    pub(super) state: &'a mut BuildState,
    pub(super) config: &'a Config,
    pub(super) selection: &'a Selection,
    pub(super) held: &'a mut Vec<Arc<StageCore>>,
    pub(super) pipeline: &'a str,
}

impl PipelineBuild<'_> {
    /// Builds the pipeline, stage by stage.
    ///
    /// # Errors
    /// If a part of the pipeline cannot be built. The error is the first one.
    pub(super) async fn run(mut self, pipeline: &config::Pipeline) -> Result<ServedPipeline, BuildError> {
        let name = self.pipeline;
        let key = |rest: &str| format!("pipelines.{name}.{rest}");
        let default_chip = default_chip(name, pipeline)?;
        let sample = pipeline.sample.as_ref().map(|path| self.state.files.asset(self.config, path)).transpose();
        let sample = sample
            .map_err(|error| BuildError::new(key("sample"), error.to_string()).temporary(error.is_temporary()))?;
        let Stages { preprocess, middle, postprocess } = match pipeline.steps.is_empty() {
            true => self.three_stages(pipeline).await?,
            false => self.steps(pipeline).await?,
        };
        let recorder = self.recorder(Keeps::Peaks, "record.dir")?;
        let share = pipeline.capture.as_ref().map_or(0.0, |capture| capture.share);
        let capture = self.recorder(Keeps::Share, "capture.dir")?.map(|recorder| Capture::new(recorder, share));
        let deadline = pipeline.deadline.unwrap_or(REQUEST_DEADLINE);
        let name = name.to_owned();
        let fallback = pipeline.fallback.clone();
        let max_request_memory = pipeline.max_request_memory.map(|size| size.as_u64());
        let max_request_memory = max_request_memory.or((!pipeline.steps.is_empty()).then_some(MAX_REQUEST_MEMORY));
        let parts = PipelineParts {
            name,
            preprocess,
            middle,
            default_chip,
            fallback,
            postprocess,
            deadline,
            max_request_memory,
        };
        let stages = Pipeline::new(parts);
        Ok(ServedPipeline {
            pipeline: stages,
            sample,
            canary: pipeline.canary.clone(),
            shadows: Shadow::all(pipeline),
            max_concurrency: pipeline.max_concurrency,
            max_queue: pipeline.max_queue,
            recorder,
            capture,
        })
    }

    fn recorder(&mut self, keeps: Keeps, key: &str) -> Result<Option<Arc<InputRecorder>>, BuildError> {
        self.state.recorder(self.config, self.pipeline, keeps).map_err(|error| {
            let key = format!("pipelines.{}.{key}", self.pipeline);
            BuildError::new(key, error.to_string()).temporary(error.is_temporary())
        })
    }

    async fn three_stages(&mut self, pipeline: &config::Pipeline) -> Result<Stages, BuildError> {
        let name = self.pipeline;
        let key = |rest: &str| format!("pipelines.{name}.{rest}");
        let missing = |rest: &str| BuildError::new(key(rest), "it is missing".to_owned());
        let declared = self.declared(pipeline);
        let (first, last) = (pipeline.preprocess.as_ref(), pipeline.postprocess.as_ref());
        let (first, last) = (first.ok_or_else(|| missing("preprocess"))?, last.ok_or_else(|| missing("postprocess"))?);
        let preprocess = StageName::from(StageKind::Preprocess);
        let preprocess = self.stage(&key("preprocess"), preprocess, first, None, declared.clone()).await?;
        let preprocess = PreprocessStage::new(preprocess).map_err(misfit(&key("preprocess")))?;
        let mut chips = BTreeMap::new();
        for (chip, stage) in &pipeline.chips {
            let key = key(&format!("chips.{chip}"));
            let model = stage.model.as_deref().or(pipeline.model.as_deref());
            let infer = self.stage(&key, StageKind::Infer.into(), stage, model, None).await?;
            chips.insert(chip.clone(), InferStage::new(infer).map_err(misfit(&key))?);
        }
        let postprocess = StageName::from(StageKind::Postprocess);
        let postprocess = self.stage(&key("postprocess"), postprocess, last, None, declared).await?;
        let postprocess = PostprocessStage::new(postprocess).map_err(misfit(&key("postprocess")))?;
        Ok(Stages { preprocess, middle: Middle::Chips(chips), postprocess })
    }

    /// Builds a stage; `key` is its table in the configuration.
    pub(super) async fn stage(
        &mut self,
        key: &str,
        name: StageName,
        stage: &config::Stage,
        model: Option<&str>,
        declared: Option<Asset>,
    ) -> Result<Arc<StageCore>, BuildError> {
        let kind = name.kind();
        let at = |field: &str, reason: String| BuildError::new(format!("{key}.{field}"), reason);
        let rejected = |field: &str, reason| BuildError::for_plugin(&stage.plugin, format!("{key}.{field}"), reason);

        let release = self
            .selection
            .get(&stage.plugin)
            .ok_or_else(|| at("plugin", format!("there is no plugin `{}`", stage.plugin)))?;
        let identity = &release.artifact.identity;
        if kind != StageKind::Infer && stage.model.is_some() {
            return Err(at("model", "only an infer stage has a model".to_owned()));
        }
        let environment = self.environment(release, stage, model, declared, &at, &rejected)?;
        let limits = self.limits(release, stage);
        let is_same = |known: &Arc<StageCore>| known.matches(identity, &name, &limits, &environment);
        if let Some(known) = self.state.stages.find(&identity.digest, is_same) {
            return Ok(known);
        }
        let ready = self.state.preparer.stage(&release.artifact, name.clone(), limits, environment).await;
        let ready = Arc::new(
            ready.map_err(|error| rejected("plugin", error.to_string()).temporary(error.reason.is_temporary()))?,
        );
        // If no instance starts within the cap, reject the deployment; otherwise every request would fail.
        ready.instantiate_only().await.map_err(|error| {
            let reason = format!("an instance cannot start: {error}");
            match error.outcome {
                Outcome::NoCapacity => rejected("plugin", reason).temporary(true),
                _ => rejected("max_memory", reason),
            }
        })?;
        self.state.stages.add(&ready);
        self.held.push(Arc::clone(&ready));
        Ok(ready)
    }

    /// The inputs and outputs that the model declares, as JSON. `None` if the chips have different models, or a chip's
    /// plugin may change the inputs or outputs.
    fn declared(&mut self, pipeline: &config::Pipeline) -> Option<Asset> {
        let stages = pipeline.chips.values().collect::<Vec<_>>();
        let model = self.declaring(&stages, pipeline.model.as_deref());
        declared_asset(model.as_deref(), model.as_deref())
    }

    /// The model whose inputs and outputs are those of these infer stages, if there is one; see [`Self::declared`].
    pub(super) fn declaring(&mut self, stages: &[&config::Stage], model: Option<&str>) -> Option<Arc<LoadedModel>> {
        let mut models = stages.iter().map(|stage| {
            let model = stage.model.as_deref().or(model);
            model.filter(|_| UNCHANGED.contains(&stage.plugin.as_str()))
        });
        let name = models.next()??;
        if models.any(|other| other != Some(name)) {
            return None;
        }
        self.state.files.model(self.config, name).ok()
    }

    /// Settings, assets and model of a stage. Those of the pipeline take precedence over those of the manifest.
    fn environment(
        &mut self,
        release: &Release,
        stage: &config::Stage,
        model: Option<&str>,
        declared: Option<Asset>,
        at: &dyn Fn(&str, String) -> BuildError,
        rejected: &dyn Fn(&str, String) -> BuildError,
    ) -> Result<StageEnvironment, BuildError> {
        let manifest = &release.manifest;
        let texts = manifest.config.iter().chain(&stage.config);
        let mut settings: BTreeMap<_, _> = texts.map(|(key, value)| (key.clone(), config::text_of(value))).collect();
        let assets = self.state.files.manifest_assets(release);
        let mut assets =
            assets.map_err(|error| rejected("plugin", error.to_string()).temporary(error.is_temporary()))?;
        for (name, path) in &stage.assets {
            let asset = self.state.files.asset(self.config, path);
            let asset = asset
                .map_err(|error| at(&format!("assets.{name:?}"), error.to_string()).temporary(error.is_temporary()));
            assets.insert(name.clone(), asset?);
        }
        if let Some(declared) = declared {
            assets.insert(DECLARED_ASSET.to_owned(), declared);
        }
        let mut loaded = None;
        if let Some(name) = model {
            let files = &mut self.state.files;
            let failed = |error: FileStoreError| at("model", error.to_string()).temporary(error.is_temporary());
            // A component that does not import assets cannot read the files, so they need not stay in memory.
            let model = if release.artifact.reads_assets || self.config.overrides.keeps_model_files {
                let (model, files) = files.model_with_files(self.config, name).map_err(failed)?;
                let bytes = Arc::clone(&files.bytes);
                assets.entry(MODEL_ASSET.to_owned()).or_insert_with(|| Asset::with_digest(bytes, model.digest()));
                for (location, bytes) in &files.external {
                    assets.entry(location.clone()).or_insert_with(|| Asset::new(Arc::clone(bytes)));
                }
                model
            } else {
                files.model(self.config, name).map_err(failed)?
            };
            settings.entry("model".to_owned()).or_insert_with(|| name.to_owned());
            loaded = Some((name.to_owned(), model));
        }
        Ok(StageEnvironment::new(Arc::clone(&release.artifact.identity.name), settings, assets, loaded))
    }

    /// The limits of a stage. Its own settings take precedence over `[plugins.NAME]`, then the manifest, then the
    /// defaults.
    fn limits(&self, release: &Release, stage: &config::Stage) -> Limits {
        let table = self.config.plugins.get(&stage.plugin);
        let manifest = &release.manifest;
        let memory = stage.max_memory.or(table.and_then(|table| table.max_memory)).or(manifest.max_memory);
        let deadline = stage.deadline.or(table.and_then(|table| table.deadline)).or(manifest.deadline);
        let init = table.and_then(|table| table.init_deadline).or(manifest.init_deadline);
        Limits {
            max_memory: memory.map_or(MAX_MEMORY, |size| size.as_u64()),
            deadline: deadline.unwrap_or(DEADLINE),
            init_deadline: init.unwrap_or(INIT_DEADLINE),
            max_output: stage.max_output.map_or(MAX_OUTPUT, |size| size.as_u64()),
        }
    }
}

/// What models declare, as JSON: the inputs of one, the outputs of another. `None` if there is neither.
pub(super) fn declared_asset(inputs: Option<&LoadedModel>, outputs: Option<&LoadedModel>) -> Option<Asset> {
    if inputs.is_none() && outputs.is_none() {
        return None;
    }
    let values = |signatures: &[Signature]| -> serde_json::Value {
        let value = |it: &Signature| {
            // Plugins compare it with the types of the tensors that they get.
            let ty = it.types.first().map(|ty| ty.in_wasi_nn().as_str());
            json!({ "name": it.name, "type": ty, "shape": it.shape })
        };
        signatures.iter().map(value).collect()
    };
    let json = json!({
        "inputs": inputs.map(|model| values(model.inputs())),
        "outputs": outputs.map(|model| values(model.outputs())),
    });
    Some(Asset::new(Arc::new(json.to_string().into_bytes())))
}
