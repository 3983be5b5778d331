//! A graph of steps between preprocessing and postprocessing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::{PipelineError, failed};
use super::plan::{Inputs, Plan, PlanError, Shape, Source};
use super::values::Value;
use crate::kind::StageKind;
use crate::stage::{Bundle, Handed, InferStage, Request, RunObserver, StageCore, TransformStage};

/// The steps between preprocessing and postprocessing, ready to run.
pub struct Graph {
    /// The steps, each after those that it takes from.
    pub steps: Vec<Step>,
    /// What postprocessing takes.
    pub reply: Inputs,
    pub(super) plan: Plan,
    first: String,
}

/// A step between preprocessing and postprocessing.
pub struct Step {
    /// Its name.
    pub name: String,
    /// What it takes.
    pub inputs: Inputs,
    /// What it runs.
    pub action: Action,
}

/// What a step runs.
pub enum Action {
    /// A model.
    Infer(InferChips),
    /// A transformation.
    Transform {
        /// The stage.
        stage: TransformStage,
        /// How it makes items; `None` if it makes none.
        items: Option<Items>,
    },
}

/// The infer stages of a step.
pub enum InferChips {
    /// The same for all chips of the pipeline.
    Same(InferStage),
    /// One for each chip of the pipeline; there is at least one.
    Each(BTreeMap<String, InferStage>),
}

/// How a step makes items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Items {
    /// The most items of a request.
    pub max: u32,
    /// True if an item that fails becomes an error of its own, and not of the request.
    pub partial: bool,
}

impl Graph {
    /// Makes a graph. `first` and `last` are the names of preprocessing and postprocessing.
    ///
    /// # Errors
    /// If the steps do not make a graph that can run.
    pub fn new(first: &str, steps: Vec<Step>, last: &str, reply: Inputs) -> Result<Self, PlanError> {
        let shapes = steps.iter().map(|step| Shape {
            name: step.name.clone(),
            inputs: step.inputs.clone(),
            makes_items: step.items().is_some(),
        });
        let last = Shape { name: last.to_owned(), inputs: reply.clone(), makes_items: false };
        let shapes: Vec<_> = shapes.chain([last]).collect();
        Ok(Self { plan: Plan::new(first, &shapes)?, steps, reply, first: first.to_owned() })
    }

    /// The name of a step: 0 is preprocessing.
    pub fn name(&self, step: usize) -> &str {
        step.checked_sub(1).and_then(|at| self.steps.get(at)).map_or(&self.first, |step| &step.name)
    }

    /// What a step takes, as the configuration names it: `STEP`, `STEP.TENSOR` or `STEP.TENSOR as NAME`.
    pub fn taken(&self, inputs: &Inputs) -> Vec<String> {
        let text = |source: &Source| match (&source.tensor, &source.rename) {
            (None, _) => self.name(source.from).to_owned(),
            (Some(tensor), None) => format!("{}.{tensor}", self.name(source.from)),
            (Some(tensor), Some(name)) => format!("{}.{tensor} as {name}", self.name(source.from)),
        };
        inputs.sources.iter().map(text).collect()
    }

    /// The names of the steps that run a model.
    pub fn infer_steps(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter(|step| matches!(step.action, Action::Infer(_))).map(|step| step.name.as_str())
    }

    /// The stage of a step that runs a model, on a chip.
    pub fn infer_stage(&self, step: &str, chip: &str) -> Option<&InferStage> {
        match &self.steps.iter().find(|known| known.name == step)?.action {
            Action::Infer(chips) => chips.of(chip),
            Action::Transform { .. } => None,
        }
    }

    /// All stages in the order of their steps; those of one chip with the chip.
    pub fn stages(&self) -> impl Iterator<Item = (Option<&str>, &Arc<StageCore>)> {
        self.steps.iter().flat_map(Step::stages)
    }

    /// True if the models of all steps are in service on a chip.
    pub fn is_in_service(&self, chip: &str) -> bool {
        self.steps.iter().all(|step| step.core(chip).is_none_or(|stage| stage.is_in_service()))
    }

    /// True if every step that runs a model has this chip, or the same stage for all.
    pub fn has_chip(&self, chip: &str) -> bool {
        self.steps.iter().all(|step| step.core(chip).is_some())
    }

    /// True if an item of a region that fails becomes an error of its own.
    pub(super) fn is_partial(&self, region: usize) -> bool {
        self.steps[self.plan.regions[region].maker - 1].items().is_some_and(|items| items.partial)
    }

    /// Everything that decides what the graph answers, besides its stages, as text.
    pub(super) fn fingerprint(&self) -> String {
        let steps = self.steps.iter().map(|step| (&step.name, &step.inputs, step.items()));
        format!("{:?} {:?}", steps.collect::<Vec<_>>(), self.reply)
    }

    /// The stage of a step, from 1, on a chip of the pipeline.
    #[expect(clippy::expect_used, reason = "`SelectedChip` is made only for a chip of the pipeline")]
    pub(super) fn core(&self, step: usize, chip: &str) -> &Arc<StageCore> {
        self.steps[step - 1].core(chip).expect("the chip of a request is checked before its first step")
    }

    /// Runs a step, from 1, on its input; for an item, if it runs for each. The chip is one of the pipeline.
    #[expect(clippy::expect_used, reason = "`SelectedChip` is made only for a chip of the pipeline")]
    pub(super) async fn run_step(
        &self,
        (step, item): (usize, Option<usize>),
        chip: &str,
        observer: &mut dyn RunObserver,
        request: &Request,
        input: Bundle,
    ) -> Result<Value, PipelineError> {
        match &self.steps[step - 1].action {
            Action::Infer(chips) => {
                let stage = chips.of(chip).expect("the chip of a request is checked before its first step");
                let Bundle { tensors, context } = input;
                observer.inferring(stage.core(), item, &tensors);
                let outputs = stage.run(observer, request, tensors).await.map_err(failed(stage.core()))?;
                observer.inferred(&outputs);
                Ok(Value::One(Bundle { tensors: outputs, context }))
            }
            Action::Transform { stage, items } => {
                let max = items.map(|items| items.max);
                match stage.run(observer, request, input, max).await.map_err(failed(stage.core()))? {
                    Handed::One(bundle) => Ok(Value::One(bundle)),
                    Handed::Items(items) => Ok(Value::Items(items)),
                }
            }
        }
    }
}

impl InferChips {
    /// The stage that runs on a chip.
    pub fn of(&self, chip: &str) -> Option<&InferStage> {
        match self {
            Self::Same(stage) => Some(stage),
            Self::Each(chips) => chips.get(chip),
        }
    }
}

impl Step {
    /// Its kind.
    pub fn kind(&self) -> StageKind {
        match &self.action {
            Action::Infer(_) => StageKind::Infer,
            Action::Transform { .. } => StageKind::Transform,
        }
    }

    /// How the step makes items.
    pub fn items(&self) -> Option<Items> {
        match &self.action {
            Action::Infer(_) => None,
            Action::Transform { items, .. } => *items,
        }
    }

    /// Its stages; those of one chip with the chip.
    pub fn stages(&self) -> Vec<(Option<&str>, &Arc<StageCore>)> {
        match &self.action {
            Action::Infer(InferChips::Same(stage)) => vec![(None, stage.core())],
            Action::Infer(InferChips::Each(chips)) => {
                chips.iter().map(|(chip, stage)| (Some(chip.as_str()), stage.core())).collect()
            }
            Action::Transform { stage, .. } => vec![(None, stage.core())],
        }
    }

    /// The stage that runs on a chip.
    pub fn core(&self, chip: &str) -> Option<&Arc<StageCore>> {
        match &self.action {
            Action::Infer(chips) => chips.of(chip).map(InferStage::core),
            Action::Transform { stage, .. } => Some(stage.core()),
        }
    }
}
