//! Models: every pipeline is one that takes encoded images, and its infer stage is another that takes tensors.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::tensor::{Datatype, shown};
use crate::app::{App, Route};
use crate::deploy::canary::Arm;
use crate::http::problem::Problem;
use crate::nn::model::Signature;
use crate::pipeline::Pipeline;

/// What the name of the model has behind the pipeline's when it means the infer stage.
pub const INFER: &str = ".infer";
/// The input of a pipeline: an encoded image.
pub const IMAGE: &str = "image";
/// The output of a pipeline: the reply of its postprocessing.
pub const OUTPUT: &str = "output";
/// The second output of a request with `partial`: the problem of each image, empty where there is none.
pub const ERRORS: &str = "errors";

/// Which part of a pipeline is the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All three stages.
    Whole,
    /// The infer stage alone.
    Infer,
}

/// A model that was found, in the version that serves this request.
pub struct Model {
    /// As the caller names it.
    pub name: String,
    /// The version of the pipeline.
    pub pipeline: Arc<Pipeline>,
    /// Where a trial counts the request.
    pub arm: Option<Arc<Arm>>,
    /// What of it is asked for.
    pub part: Part,
}

/// Name, type and shape of an input or output.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TensorMetadata {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub datatype: &'static str,
    /// Sizes of the dimensions; -1 is a free one.
    pub shape: Vec<i64>,
}

/// What a model takes and gives.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ModelMetadata {
    /// Its name.
    pub name: String,
    /// The versions that are served.
    pub versions: Vec<String>,
    /// `plimsoll_pipeline` or `plimsoll_infer`.
    pub platform: &'static str,
    /// What it takes.
    pub inputs: Vec<TensorMetadata>,
    /// What it gives.
    pub outputs: Vec<TensorMetadata>,
}

impl Model {
    /// The model of a name for a request; without a version (or with an empty one) a trial may get it.
    ///
    /// # Errors
    /// 404 names what is not there, and what is.
    pub fn find(app: &App, name: &str, version: Option<&str>) -> Result<Self, Problem> {
        Self::of(app, name, version, Route::choose)
    }

    /// The model of a name, for who only looks at it.
    ///
    /// # Errors
    /// As [`Model::find`].
    pub fn look(app: &App, name: &str, version: Option<&str>) -> Result<Self, Problem> {
        Self::of(app, name, version, |route| (Arc::clone(&route.stable), None))
    }

    /// Whether a model is configured and was unloaded.
    pub fn is_unloaded(app: &App, name: &str) -> bool {
        let served = app.served.load();
        let is = |name: &str| served.unloaded.contains(name);
        is(name) || (!served.routes.contains_key(name) && name.strip_suffix(INFER).is_some_and(is))
    }

    fn of(app: &App, name: &str, version: Option<&str>, choose: impl Fn(&Route) -> Choice) -> Result<Self, Problem> {
        let served = app.served.load();
        let (route, pipeline, part) = match (served.routes.get(name), name.strip_suffix(INFER)) {
            (None, Some(pipeline)) => (served.routes.get(pipeline), pipeline, Part::Infer),
            (route, _) => (route, name, Part::Whole),
        };
        let Some(route) = route else {
            if Self::is_unloaded(app, name) {
                let detail =
                    format!("model `{name}` is unloaded; POST /v2/repository/models/{pipeline}/load loads it again");
                return Err(Problem::not_found(detail));
            }
            let known = names(&served.routes.keys().cloned().collect::<Vec<_>>()).join(", ");
            return Err(Problem::not_found(format!("there is no model `{}`; there are {known}", shown(name))));
        };
        let found = |(pipeline, arm)| Self { name: name.to_owned(), pipeline, arm, part };
        match version.filter(|version| !version.is_empty()) {
            None => Ok(found(choose(route))),
            Some(version) => route.version(version).map(found).ok_or_else(|| {
                let known = versions(route).join(", ");
                let version = shown(version);
                Problem::not_found(format!("model `{name}` has no version `{version}`; served are {known}"))
            }),
        }
    }

    /// What the model takes and gives.
    pub fn metadata(&self, app: &App) -> ModelMetadata {
        let versions = app.served.load().routes.get(&self.pipeline.name).map_or_else(Vec::new, versions);
        let bytes =
            |name: &str| TensorMetadata { name: name.into(), datatype: Datatype::Bytes.as_str(), shape: vec![1] };
        let (platform, inputs, outputs) = match self.part {
            Part::Whole => ("plimsoll_pipeline", vec![bytes(IMAGE)], vec![bytes(OUTPUT)]),
            Part::Infer => {
                let stage = self.pipeline.chip(&self.pipeline.default_chip);
                let (inputs, outputs) = stage.and_then(|stage| stage.signatures()).unwrap_or_default();
                ("plimsoll_infer", of_signatures(inputs), of_signatures(outputs))
            }
        };
        ModelMetadata { name: self.name.clone(), versions, platform, inputs, outputs }
    }
}

/// The pipeline for a request, and where a trial counts it.
type Choice = (Arc<Pipeline>, Option<Arc<Arm>>);

impl Route {
    /// The pipeline of a version.
    fn version(&self, version: &str) -> Option<Choice> {
        if let Some(trial) = self.trial.as_ref().filter(|trial| trial.pipeline.version == version) {
            return Some((Arc::clone(&trial.pipeline), Some(trial.arm(true))));
        }
        let arm = self.trial.as_ref().map(|trial| trial.arm(false));
        (self.stable.version == version).then(|| (Arc::clone(&self.stable), arm))
    }
}

/// The versions that a route serves.
pub fn versions(route: &Route) -> Vec<String> {
    let trial = route.trial.as_ref().map(|trial| trial.pipeline.version.clone());
    let stable = route.stable.version.clone();
    let mut versions = vec![stable];
    versions.extend(trial.filter(|trial| *trial != versions[0]));
    versions
}

/// The names of the models of these pipelines.
pub fn names(pipelines: &[String]) -> Vec<String> {
    pipelines.iter().flat_map(|pipeline| [pipeline.clone(), format!("{pipeline}{INFER}")]).collect()
}

fn of_signatures(signatures: &[Signature]) -> Vec<TensorMetadata> {
    signatures
        .iter()
        .map(|signature| TensorMetadata {
            name: signature.name.clone(),
            datatype: signature.types.first().map_or("", |ty| Datatype::of(*ty).as_str()),
            shape: signature
                .shape
                .as_deref()
                .unwrap_or_default()
                .iter()
                .map(|size| size.map_or(-1, i64::from))
                .collect(),
        })
        .collect()
}
