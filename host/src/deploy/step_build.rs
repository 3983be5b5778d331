//! Builds the steps of a pipeline.

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll_runtime::kind::{StageKind, StageName};
use plimsoll_runtime::nn::LoadedModel;
use plimsoll_runtime::pipeline::graph::{Action, InferChips, Items, Step};
use plimsoll_runtime::pipeline::{Graph, Inputs, Middle};
use plimsoll_runtime::stage::{Asset, InferStage, PostprocessStage, PreprocessStage, TransformStage};

use super::build_error::BuildError;
use super::pipeline_build::{PipelineBuild, declared_asset};
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

    /// What models declare, for the step that makes their inputs or takes their outputs as they are: the inputs for preprocessing
    /// and a transformation, if one step with a model takes from it, and nothing from elsewhere; the outputs for a
    /// transformation and for postprocessing, if they take all tensors of one step with a model.
    fn declared_for(&mut self, pipeline: &Pipeline, inputs: &[Inputs], at: usize) -> Option<Asset> {
        let is_infer = |step: usize| pipeline.steps[step].kind == StageKind::Infer;
        let kind = pipeline.steps[at].kind;
        let before = || {
            let mut models = inputs[at].sources.iter().filter(|source| is_infer(source.from));
            let only = models.next().filter(|source| source.tensor.is_none() && models.next().is_none())?;
            // Postprocessing gets the tensors of all steps together, and looks for the outputs among them.
            (kind == StageKind::Transform || inputs[at].sources.len() == 1).then_some(only.from)
        };
        let after = || {
            let takes = |to: &usize| inputs[*to].sources.iter().any(|source| source.from == at);
            let mut takers = (at + 1..inputs.len()).filter(|to| is_infer(*to) && takes(to));
            takers.next().filter(|&to| inputs[to].sources.len() == 1 && takers.next().is_none())
        };
        let before = || before().filter(|_| !inputs[at].gather);
        // Preprocessing and postprocessing get both lists, as in a pipeline of three stages.
        let (after, before) = match kind {
            StageKind::Preprocess => (after(), after()),
            StageKind::Transform => (after(), before()),
            StageKind::Postprocess => (before(), before()),
            StageKind::Infer => (None, None),
        };
        let mut of = |step: Option<usize>| -> Option<Arc<LoadedModel>> {
            let stages: Vec<&config::Stage> = pipeline.steps[step?].stages().map(|(_, stage)| stage).collect();
            self.declaring(&stages, pipeline.model.as_deref())
        };
        declared_asset(of(after).as_deref(), of(before).as_deref())
    }
}
