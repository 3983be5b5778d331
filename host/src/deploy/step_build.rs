//! Builds the steps of a pipeline.

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll_runtime::kind::{StageKind, StageName};
use plimsoll_runtime::pipeline::graph::{Action, InferChips, Items, Step};
use plimsoll_runtime::pipeline::{Graph, Inputs, Middle};
use plimsoll_runtime::stage::{Asset, InferStage, PostprocessStage, PreprocessStage, TransformStage};

use super::build_error::BuildError;
use super::pipeline_build::PipelineBuild;
use super::stages::{Stages, misfit};
use crate::config::step::MAX_ITEMS;
use crate::config::{self, Pipeline};

impl PipelineBuild<'_> {
    /// Builds the steps, one by one.
    pub(super) async fn steps(&mut self, pipeline: &Pipeline) -> Result<Stages, BuildError> {
        let name = self.pipeline;
        let table = |key: &str| format!("pipelines.{name}.{key}");
        let inputs = pipeline.inputs().map_err(|(key, reason)| BuildError::new(table(&key), reason))?;
        let mut preprocess = None;
        let mut postprocess = None;
        let mut steps = Vec::new();
        for (at, (step, taken)) in pipeline.steps.iter().zip(&inputs).enumerate() {
            let declared = self.declared_for(pipeline, &inputs, at);
            let mut stages = BTreeMap::new();
            let own = step.stage.iter().map(|stage| (None, stage));
            for (chip, stage) in own.chain(step.chips.iter().map(|(chip, stage)| (Some(chip), stage))) {
                let key = match chip {
                    None => table(&format!("steps.{}", step.name)),
                    Some(chip) => table(&format!("steps.{}.chips.{chip}", step.name)),
                };
                let model = stage.model.as_deref().or(pipeline.model.as_deref());
                let model = model.filter(|_| step.kind == StageKind::Infer);
                let label = StageName::step(step.kind, &step.name);
                let core = self.stage(&key, label, stage, model, declared.clone()).await?;
                stages.insert(chip.cloned(), (key, core));
            }
            let mut only = || stages.remove(&None);
            let action = match step.kind {
                StageKind::Preprocess => {
                    preprocess =
                        only().map(|(key, core)| PreprocessStage::new(core).map_err(misfit(&key))).transpose()?;
                    continue;
                }
                StageKind::Postprocess => {
                    postprocess =
                        only().map(|(key, core)| PostprocessStage::new(core).map_err(misfit(&key))).transpose()?;
                    continue;
                }
                StageKind::Transform => {
                    let Some((key, core)) = only() else { continue };
                    let max = step.max_items.unwrap_or(MAX_ITEMS);
                    let items = step.items.then_some(Items { max, partial: step.partial });
                    Action::Transform { stage: TransformStage::new(core).map_err(misfit(&key))?, items }
                }
                StageKind::Infer => Action::Infer(match only() {
                    Some((key, core)) => InferChips::Same(InferStage::new(core).map_err(misfit(&key))?),
                    None => {
                        let mut chips = BTreeMap::new();
                        for (chip, (key, core)) in stages {
                            let stage = InferStage::new(core).map_err(misfit(&key))?;
                            chips.extend(chip.map(|chip| (chip, stage)));
                        }
                        InferChips::Each(chips)
                    }
                }),
            };
            steps.push(Step { name: step.name.clone(), inputs: taken.clone(), action });
        }
        let incomplete = || BuildError::new(table("steps"), "the first or the last step is missing".to_owned());
        let (preprocess, postprocess) = (preprocess.ok_or_else(incomplete)?, postprocess.ok_or_else(incomplete)?);
        let (Some(first), Some(last), Some(reply)) = (pipeline.steps.first(), pipeline.steps.last(), inputs.last())
        else {
            return Err(incomplete());
        };
        let graph = Graph::new(&first.name, steps, &last.name, reply.clone());
        let refused = |error: plimsoll_runtime::pipeline::PlanError| {
            BuildError::new(table(&format!("steps.{}.{}", error.step, error.key)), error.reason)
        };
        let chips = pipeline.chip_names().into_iter().map(str::to_owned).collect();
        Ok(Stages { preprocess, middle: Middle::Steps(Arc::new(graph.map_err(refused)?), chips), postprocess })
    }

    /// What a model declares, for the step that makes its inputs, or takes its outputs as they are: preprocessing with one
    /// step that takes from it, and postprocessing that takes from one step.
    fn declared_for(&mut self, pipeline: &Pipeline, inputs: &[Inputs], at: usize) -> Option<Asset> {
        let takes_only = |inputs: &Inputs, from: usize| matches!(inputs.sources.as_slice(), [source] if source.from == from && source.tensor.is_none());
        let neighbour = match pipeline.steps[at].kind {
            StageKind::Preprocess => {
                let mut takers = (1..inputs.len()).filter(|&to| inputs[to].sources.iter().any(|it| it.from == at));
                takers.next().filter(|&to| takes_only(&inputs[to], at) && takers.next().is_none())
            }
            StageKind::Postprocess if !inputs[at].gather => {
                let from = inputs[at].sources.first().map(|source| source.from);
                from.filter(|&from| takes_only(&inputs[at], from))
            }
            _ => None,
        };
        let neighbour = &pipeline.steps[neighbour?];
        let stages: Vec<&config::Stage> = neighbour.stages().map(|(_, stage)| stage).collect();
        let is_infer = neighbour.kind == StageKind::Infer;
        is_infer.then(|| self.declared_by(&stages, pipeline.model.as_deref())).flatten()
    }
}
