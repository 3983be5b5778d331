//! `GET /v1/pipelines`: the pipelines that are served, with their plugins and limits.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use plimsoll_runtime::kind::StageKind;
use plimsoll_runtime::pipeline::Graph;
use plimsoll_runtime::pipeline::graph::Step;
use plimsoll_runtime::stage::StageCore;
use serde::Serialize;
use utoipa::ToSchema;

use super::parameters::NoParameters;
use crate::deploy::ServedPipeline;
use crate::deploy::shadow::Shadow;
use crate::serve::App;

/// The infer stage of a pipeline of three stages in reports.
const INFER: &str = StageKind::Infer.as_str();

/// The pipelines of a server.
#[derive(Serialize, ToSchema)]
pub(super) struct PipelineList {
    /// In the order of their names.
    pipelines: Vec<PipelineView>,
}

/// A pipeline, as it serves the next request without a canary.
#[derive(Serialize, ToSchema)]
struct PipelineView {
    /// The name in the configuration and in URLs.
    name: String,
    /// The chip of requests that name none.
    default_chip: String,
    /// The chips that a request can name. A pipeline of steps without tables of chips has one, `default`.
    chip_names: Vec<String>,
    /// The time limit of a request in seconds.
    deadline_seconds: f64,
    /// The steps between the first and the last one; `null` if the pipeline has three stages.
    steps: Option<Vec<StepView>>,
    /// The first stage or step.
    preprocess: PipelineStage,
    /// The infer stage of each chip; empty if the pipeline has steps.
    chips: BTreeMap<String, PipelineStage>,
    /// The last stage or step.
    postprocess: PipelineStage,
    /// The chip that also computes a share of the requests; `null` without one, and in a pipeline with steps.
    shadow: Option<PipelineShadow>,
}

/// A plugin of a pipeline, with its limits.
#[derive(Serialize, ToSchema)]
struct PipelineStage {
    /// Its name in reports, headers and metrics: that of the step, or `preprocess`, `infer` or `postprocess`.
    name: String,
    /// The plugin.
    plugin: String,
    /// The version that serves.
    version: String,
    /// The cap in bytes.
    max_memory: u64,
    /// The time limit of a run in seconds.
    deadline_seconds: f64,
}

/// A step between the first and the last one.
#[derive(Serialize, ToSchema)]
struct StepView {
    /// Its name.
    name: String,
    /// `infer` or `transform`.
    kind: String,
    /// What it takes: `STEP`, `STEP.TENSOR` or `STEP.TENSOR as NAME`.
    from: Vec<String>,
    /// True if it runs once, with all items.
    gather: bool,
    /// The most items that it makes; `null` if it makes none.
    max_items: Option<u32>,
    /// True if each of its items may fail alone.
    partial: bool,
    /// Its plugin for each chip; under the empty name if it is the same for all chips.
    stages: BTreeMap<String, PipelineStage>,
    /// The chip that also computes a share of its runs; `null` without one.
    shadow: Option<PipelineShadow>,
}

/// A chip that also computes a share of the requests, or of the runs of a step.
#[derive(Serialize, ToSchema)]
struct PipelineShadow {
    /// The chip.
    chip: String,
    /// The part of the requests or runs, from 0 to 1.
    share: f64,
}

/// Lists the pipelines that are served.
#[utoipa::path(get, path = "/v1/pipelines", tag = "administration",
               responses((status = 200, description = "The pipelines, with plugins and limits", body = PipelineList)))]
pub(super) async fn pipelines(State(app): State<Arc<App>>, _: NoParameters) -> Json<PipelineList> {
    let served = app.served().load();
    Json(PipelineList { pipelines: served.routes.values().map(|route| PipelineView::of(&route.stable)).collect() })
}

impl PipelineView {
    fn of(pipeline: &ServedPipeline) -> Self {
        let chips = pipeline.chips.iter().map(|(chip, stage)| (chip.clone(), PipelineStage::of(stage)));
        Self {
            name: pipeline.name.clone(),
            default_chip: pipeline.default_chip.clone(),
            chip_names: pipeline.chip_names().to_vec(),
            deadline_seconds: pipeline.deadline.as_secs_f64(),
            steps: pipeline.steps.as_ref().map(|graph| steps(pipeline, graph)),
            preprocess: PipelineStage::of(&pipeline.preprocess),
            chips: chips.collect(),
            postprocess: PipelineStage::of(&pipeline.postprocess),
            shadow: pipeline.shadow_of(INFER).filter(|_| pipeline.steps.is_none()).map(PipelineShadow::of),
        }
    }
}

fn steps(pipeline: &ServedPipeline, graph: &Graph) -> Vec<StepView> {
    graph.steps.iter().map(|it| StepView::of(graph, it, pipeline.shadow_of(&it.name))).collect()
}

impl PipelineShadow {
    fn of(shadow: &Shadow) -> Self {
        Self { chip: shadow.chip.clone(), share: shadow.share }
    }
}

impl PipelineStage {
    fn of(stage: &StageCore) -> Self {
        Self {
            name: stage.name.to_string(),
            plugin: stage.plugin.name.to_string(),
            version: stage.plugin.version.to_string(),
            max_memory: stage.limits.max_memory,
            deadline_seconds: stage.limits.deadline.as_secs_f64(),
        }
    }
}

impl StepView {
    fn of(graph: &Graph, step: &Step, shadow: Option<&Shadow>) -> Self {
        let stages = step.stages().into_iter();
        Self {
            name: step.name.clone(),
            kind: step.kind().to_string(),
            from: graph.taken(&step.inputs),
            gather: step.inputs.gather,
            max_items: step.items().map(|items| items.max),
            partial: step.items().is_some_and(|items| items.partial),
            stages: stages.map(|(chip, core)| (chip.unwrap_or("").to_owned(), PipelineStage::of(core))).collect(),
            shadow: shadow.map(PipelineShadow::of),
        }
    }
}
