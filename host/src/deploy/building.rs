//! One pipeline of the configuration becomes one that can run: its chips, the deployment and the limits of its stages.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::release::Release;
use super::workshop::{BuildError, Selection, Workshop};
use crate::config::{self, Config};
use crate::defaults::{DEADLINE, INIT_DEADLINE, MAX_MEMORY, MAX_OUTPUT, REQUEST_DEADLINE};
use crate::pipeline::Pipeline;
use crate::plugin::{Kind, artifact};
use crate::stage::state::{Asset, Deployment};
use crate::stage::{Limits, Stage};

/// The name by which an infer plugin without a chip of its own reads the file of its model.
const MODEL_ASSET: &str = "model.onnx";

/// One pipeline at work.
pub(super) struct Building<'a> {
    pub(super) workshop: &'a mut Workshop,
    pub(super) config: &'a Config,
    pub(super) selection: &'a Selection,
    pub(super) held: &'a mut Vec<Arc<Stage>>,
    pub(super) pipeline: &'a str,
}

impl Building<'_> {
    /// Builds it, stage by stage.
    ///
    /// # Errors
    /// The first thing that cannot be served.
    pub(super) async fn pipeline(mut self, pipeline: &config::Pipeline) -> Result<Pipeline, BuildError> {
        let name = self.pipeline;
        let key = |rest: &str| format!("pipelines.{name}.{rest}");
        let default_chip = match (&pipeline.default_chip, pipeline.chips.keys().next()) {
            (Some(chip), _) if pipeline.chips.contains_key(chip) => chip.clone(),
            (None, Some(only)) if pipeline.chips.len() == 1 => only.clone(),
            (_, None) => return Err(BuildError::new(key("chips"), "a pipeline needs at least one chip")),
            (chip, _) => {
                let names: Vec<_> = pipeline.chips.keys().map(String::as_str).collect();
                let what = chip.as_ref().map_or("is missing".to_owned(), |chip| format!("there is no chip `{chip}`"));
                return Err(BuildError::new(key("default_chip"), format!("{what}; name one of {}", names.join(", "))));
            }
        };
        let sample = pipeline.sample.as_ref().map(|path| self.workshop.file(self.config, path)).transpose();
        let sample = sample.map_err(|reason| BuildError::new(key("sample"), reason))?;
        let preprocess = self.stage(None, Kind::Preprocess, &pipeline.preprocess, None).await?;
        let mut chips = BTreeMap::new();
        for (chip, stage) in &pipeline.chips {
            let model = stage.model.as_deref().or(pipeline.model.as_deref());
            chips.insert(chip.clone(), self.stage(Some(chip), Kind::Infer, stage, model).await?);
        }
        let postprocess = self.stage(None, Kind::Postprocess, &pipeline.postprocess, None).await?;
        let deadline = pipeline.deadline.unwrap_or(REQUEST_DEADLINE);
        let canary = pipeline.canary.clone();
        let recordings = self.workshop.recordings(self.config, name);
        let recordings = recordings.map_err(|reason| BuildError::new(key("record.dir"), reason))?;
        let name = name.to_owned();
        let version = version(&default_chip, deadline, &preprocess, &chips, &postprocess);
        Ok(Pipeline {
            name,
            version,
            preprocess,
            chips,
            default_chip,
            postprocess,
            deadline,
            sample,
            canary,
            recordings,
        })
    }

    async fn stage(
        &mut self,
        chip: Option<&str>,
        kind: Kind,
        stage: &config::Stage,
        model: Option<&str>,
    ) -> Result<Arc<Stage>, BuildError> {
        let pipeline = self.pipeline;
        let key = match chip {
            Some(chip) => format!("pipelines.{pipeline}.chips.{chip}"),
            None => format!("pipelines.{pipeline}.{}", kind.as_str()),
        };
        let at = |field: &str, reason: String| BuildError::new(format!("{key}.{field}"), reason);
        let unfit = |field: &str, reason| BuildError::of_plugin(&stage.plugin, format!("{key}.{field}"), reason);

        let release = self
            .selection
            .get(&stage.plugin)
            .ok_or_else(|| at("plugin", format!("there is no plugin `{}`", stage.plugin)))?;
        let identity = &release.artifact.identity;
        if kind != Kind::Infer && stage.model.is_some() {
            return Err(at("model", "only an infer stage has a model".to_owned()));
        }
        let deployment = self.deployment(release, stage, model, &at, &unfit)?;
        let limits = self.limits(release, stage);
        let same = |known: &Arc<Stage>| known.is(identity, kind.as_str(), &limits, &deployment);
        if let Some(known) = self.workshop.stages.iter().filter_map(Weak::upgrade).find(same) {
            return Ok(known);
        }
        let ready = self.workshop.preparer.stage(&release.artifact, kind, limits, deployment).await;
        let ready = Arc::new(ready.map_err(|error| unfit("plugin", error.to_string()))?);
        // A cap under which no instance starts would blame every caller for the deployment's mistake.
        ready.instantiate_only().await.map_err(|error| unfit("max_memory", format!("no instance starts: {error}")))?;
        self.workshop.stages.push(Arc::downgrade(&ready));
        self.held.push(Arc::clone(&ready));
        Ok(ready)
    }

    /// Configuration, files and model of a stage: the pipeline's own go before the manifest's.
    fn deployment(
        &mut self,
        release: &Release,
        stage: &config::Stage,
        model: Option<&str>,
        at: &dyn Fn(&str, String) -> BuildError,
        unfit: &dyn Fn(&str, String) -> BuildError,
    ) -> Result<Deployment, BuildError> {
        let manifest = &release.manifest;
        let texts = manifest.config.iter().chain(&stage.config);
        let mut settings: BTreeMap<_, _> = texts.map(|(key, value)| (key.clone(), config::text_of(value))).collect();
        let mut assets = BTreeMap::new();
        for (name, bytes) in manifest.read_assets().map_err(|reason| unfit("plugin", reason))? {
            assets.insert(name, Asset::new(Arc::new(bytes)));
        }
        for (name, path) in &stage.assets {
            let asset = self.workshop.file(self.config, path);
            assets.insert(name.clone(), asset.map_err(|reason| at(&format!("assets.{name:?}"), reason))?);
        }
        let mut loaded = None;
        if let Some(name) = model {
            let (model, bytes) = self.workshop.model(self.config, name).map_err(|reason| at("model", reason))?;
            settings.entry("model".to_owned()).or_insert_with(|| name.to_owned());
            assets.entry(MODEL_ASSET.to_owned()).or_insert_with(|| Asset::of_digest(bytes, model.digest()));
            loaded = Some((name.to_owned(), model));
        }
        Ok(Deployment::new(Arc::clone(&release.artifact.identity.name), settings, assets, loaded))
    }

    /// The stage's own limits, else `[plugins.NAME]`, else the manifest's, else the defaults.
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

/// The number of a pipeline's version: 32 bits of the SHA-256 of all that decides what it answers, so that processes
/// which serve the same agree on it.
fn version(
    default_chip: &str,
    deadline: std::time::Duration,
    preprocess: &Stage,
    chips: &BTreeMap<String, Arc<Stage>>,
    postprocess: &Stage,
) -> String {
    let infer = chips.iter().map(|(chip, stage)| (chip.as_str(), &**stage));
    let mut parts = vec![format!("{default_chip:?} {deadline:?}")];
    for (chip, stage) in [("", preprocess)].into_iter().chain(infer).chain([("", postprocess)]) {
        parts.push(format!("{chip:?} {}", stage.fingerprint()));
    }
    let digest = artifact::digest(parts.join("\n").as_bytes());
    u32::from_str_radix(&digest[..8], 16).expect("hexadecimal").to_string()
}
