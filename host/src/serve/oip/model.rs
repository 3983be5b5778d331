//! Models. Every pipeline is a model that takes encoded images. Its infer stage, or each of its steps that runs a model, is
//! a model that takes tensors.

use std::sync::Arc;

use plimsoll_runtime::nn::Signature;
use plimsoll_runtime::stage::InferStage;
use plimsoll_runtime::text::{listed, shortened};
use serde::Serialize;
use utoipa::ToSchema;

use super::datatype::Datatype;
use crate::deploy::serving::{Route, Routed};
use crate::deploy::{NotServed, ServedPipeline};
use crate::records::canary_side::CanarySide;
use crate::serve::App;
use crate::serve::error::ServeError;

/// The suffix of the name of an infer stage: the model `<pipeline>.infer` is the infer stage of `<pipeline>`.
pub const INFER: &str = ".infer";
/// The input of a pipeline: an encoded image.
pub const IMAGE: &str = "image";
/// The output of a pipeline: the reply of its postprocessing.
pub const OUTPUT: &str = "output";
/// The second output of a request with `partial`: the problem JSON of each image; empty if the image succeeded.
pub const ERRORS: &str = "errors";

/// The part of a pipeline that a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelPart {
    /// All three stages.
    Whole,
    /// Only the infer stage.
    Infer,
}

/// A model, in the version that serves a request.
pub struct Model {
    /// The name that the caller uses.
    pub name: String,
    /// The pipeline, in the version that serves the request.
    pub pipeline: Arc<ServedPipeline>,
    /// The side of the canary that counts the request, if a canary runs.
    pub canary_side: Option<Arc<CanarySide>>,
    /// The part of the pipeline.
    pub part: ModelPart,
    /// The step that is the model, if the pipeline has steps.
    pub step: Option<String>,
}

/// Name, type and shape of an input or output.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TensorMetadata {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub datatype: &'static str,
    /// Sizes of the dimensions; -1 means that any size is accepted.
    pub shape: Vec<i64>,
}

/// The inputs and outputs of a model.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ModelMetadata {
    /// Its name.
    pub name: String,
    /// The versions that are served.
    pub versions: Vec<String>,
    /// `plimsoll_pipeline` or `plimsoll_infer`.
    pub platform: &'static str,
    /// Its inputs.
    pub inputs: Vec<TensorMetadata>,
    /// Its outputs.
    pub outputs: Vec<TensorMetadata>,
}

impl Model {
    /// Finds the model of a request. If no version is given (or an empty one), a canary may get the request.
    ///
    /// # Errors
    /// If there is no such model or version. The message names the existing ones.
    pub fn find(app: &App, name: &str, version: Option<&str>, caller: Option<&[u8]>) -> Result<Self, ServeError> {
        Self::find_with(app, name, version, |route| route.route_request(caller))
    }

    /// Looks up a model without canary routing.
    ///
    /// # Errors
    /// As [`Model::find`].
    pub fn lookup(app: &App, name: &str, version: Option<&str>) -> Result<Self, ServeError> {
        Self::find_with(app, name, version, |route| (Arc::clone(&route.stable), None))
    }

    /// Returns true if a model is configured but unloaded.
    pub fn is_unloaded(app: &App, name: &str) -> bool {
        let served = app.served().load();
        let is_part = |(pipeline, part): (&str, &str)| {
            served.unloaded.get(pipeline).is_some_and(|parts| parts.iter().any(|known| known == part))
        };
        served.unloaded.contains_key(name)
            || (!served.routes.contains_key(name) && name.rsplit_once('.').is_some_and(is_part))
    }

    fn find_with(
        app: &App,
        name: &str,
        version: Option<&str>,
        choose: impl Fn(&Route) -> Routed,
    ) -> Result<Self, ServeError> {
        let served = app.served().load();
        let (route, pipeline, part) = match (served.routes.get(name), pipeline_of(name)) {
            (None, Some(pipeline)) => {
                let route = served.routes.get(pipeline);
                let has_part = |route: &&Route| names_of(&route.stable).iter().any(|known| known == name);
                (route.filter(has_part), pipeline, ModelPart::Infer)
            }
            (route, _) => (route, name, ModelPart::Whole),
        };
        let Some(route) = route else {
            if Self::is_unloaded(app, name) {
                let detail =
                    format!("model `{name}` is unloaded; POST /v2/repository/models/{pipeline}/load loads it again");
                return Err(ServeError::not_found(detail));
            }
            let known: Vec<_> = served.routes.values().flat_map(|route| names_of(&route.stable)).collect();
            let known = listed(known.iter().map(String::as_str));
            return Err(ServeError::not_found(format!(
                "there is no model `{}`; the models are {known}",
                shortened(name)
            )));
        };
        let found = |(pipeline, canary_side): Routed| {
            let step = name.rsplit_once('.').filter(|_| part == ModelPart::Infer && pipeline.steps.is_some());
            let step = step.map(|(_, step)| step.to_owned());
            Self { name: name.to_owned(), pipeline, canary_side, part, step }
        };
        match version.filter(|version| !version.is_empty()) {
            None => Ok(found(choose(route))),
            Some(version) => route.version(version).map(found).ok_or_else(|| {
                let known = route.versions().join(", ");
                let version = shortened(version);
                ServeError::not_found(format!(
                    "model `{name}` has no version `{version}`; the served versions are {known}"
                ))
            }),
        }
    }

    /// The infer stage of the model on a chip.
    ///
    /// # Errors
    /// If there is no such chip, or the model is a whole pipeline with steps.
    pub fn stage(&self, chip: &str) -> Result<&InferStage, NotServed> {
        match &self.step {
            None => self.pipeline.find_infer(chip),
            Some(step) => self.pipeline.find_step(step, chip),
        }
    }

    /// Returns the name, versions, inputs and outputs of the model.
    pub fn metadata(&self, app: &App) -> ModelMetadata {
        let versions = app.served().load().routes.get(&self.pipeline.name).map_or_else(Vec::new, Route::versions);
        let bytes =
            |name: &str| TensorMetadata { name: name.into(), datatype: Datatype::Bytes.as_str(), shape: vec![-1] };
        let (platform, inputs, outputs) = match self.part {
            ModelPart::Whole => ("plimsoll_pipeline", vec![bytes(IMAGE)], vec![bytes(OUTPUT)]),
            ModelPart::Infer => {
                let stage = self.stage(&self.pipeline.default_chip).ok();
                let (inputs, outputs) = stage.and_then(|stage| stage.signatures()).unwrap_or_default();
                ("plimsoll_infer", tensor_metadata(inputs), tensor_metadata(outputs))
            }
        };
        ModelMetadata { name: self.name.clone(), versions, platform, inputs, outputs }
    }
}

/// Returns the names of all models of a pipeline.
pub fn names_of(pipeline: &ServedPipeline) -> Vec<String> {
    let name = &pipeline.name;
    let parts: Vec<String> = match &pipeline.steps {
        None => vec![format!("{name}{INFER}")],
        Some(steps) => steps.infer_steps().map(|step| format!("{name}.{step}")).collect(),
    };
    std::iter::once(name.clone()).chain(parts).collect()
}

/// The pipeline of the model of one of its parts.
pub fn pipeline_of(name: &str) -> Option<&str> {
    name.rsplit_once('.').map(|(pipeline, _)| pipeline)
}

fn tensor_metadata(signatures: &[Signature]) -> Vec<TensorMetadata> {
    signatures
        .iter()
        .map(|signature| TensorMetadata {
            name: signature.name.clone(),
            datatype: signature.types.first().map_or("", |ty| Datatype::from_nn(*ty).as_str()),
            // The protocol has no form for any number of dimensions. No dimension would be a scalar.
            shape: signature
                .shape
                .as_deref()
                .map_or_else(|| vec![-1], |sizes| sizes.iter().map(|size| size.map_or(-1, i64::from)).collect()),
        })
        .collect()
}
