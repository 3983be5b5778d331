//! What the steps of a request have handed on, until no later step takes it.

use std::collections::HashMap;
use std::sync::Arc;

use super::error::{PipelineError, failed};
use super::in_flight::Run;
use super::plan::{Inputs, Region, Source, Unit};
use super::values::{Value, contexts, gathered, gathered_tensors, handed, joined, only};
use crate::stage::{Bundle, StageCore, StageError};

/// The work of a unit with everything that it takes.
pub(super) enum Job {
    /// A step with its input.
    Step(usize, Bundle),
    /// The steps of a region, for each item; and what its steps take from other steps.
    Region { region: usize, items: Vec<Bundle>, shared: HashMap<usize, Bundle> },
}

/// What a unit has handed on, with the number of the step.
pub(super) enum Made {
    /// By a step that ran once.
    Step(usize, Value),
    /// By the steps of a region.
    Region(Vec<(usize, Value)>),
}

/// What the steps have handed on so far. A tensor is dropped as soon as the last unit that takes it has begun.
pub(super) struct Slots<'a> {
    run: Run<'a>,
    values: Vec<Option<Value>>,
    /// For each unit, whether it has taken its input; the last one is postprocessing.
    has_begun: Vec<bool>,
    /// For each region, the context from before its items.
    bases: Vec<Option<Arc<[u8]>>>,
}

impl<'a> Slots<'a> {
    pub(super) fn new(run: Run<'a>, prepared: Bundle) -> Self {
        let plan = &run.graph.plan;
        let values = std::iter::once(Some(Value::One(prepared))).chain(run.graph.steps.iter().map(|_| None)).collect();
        let has_begun = vec![false; plan.taken.len()];
        let mut this = Self { run, values, has_begun, bases: plan.regions.iter().map(|_| None).collect() };
        this.release(0);
        this
    }

    pub(super) fn put(&mut self, made: Made) {
        match made {
            Made::Step(step, value) => self.put_value(step, value),
            Made::Region(values) => values.into_iter().for_each(|(step, value)| self.put_value(step, value)),
        }
    }

    fn put_value(&mut self, step: usize, value: Value) {
        self.values[step] = Some(value);
        self.release(step);
    }

    /// Takes everything that a unit needs.
    pub(super) fn job(&mut self, unit: usize) -> Result<Job, PipelineError> {
        let run = self.run;
        let graph = run.graph;
        match graph.plan.units[unit] {
            Unit::Step(step) => {
                let made = &graph.steps[step - 1];
                let base = if made.inputs.gather { self.base(&made.inputs).cloned() } else { None };
                let input = self.input(unit, &made.inputs, graph.core(step, run.chip))?;
                if let Some(region) = graph.plan.regions.iter().position(|region| region.maker == step) {
                    // Items that are made of gathered ones come from the same context as these.
                    self.bases[region] = if made.inputs.gather { base } else { Some(Arc::clone(&input.context)) };
                }
                Ok(Job::Step(step, input))
            }
            Unit::Region(region) => {
                let Region { maker, shared, .. } = &graph.plan.regions[region];
                let taken = shared.iter().filter_map(|&step| match &self.values[step] {
                    Some(Value::One(bundle)) => {
                        let sources = graph.plan.taken[unit].iter().filter(|source| source.from == step);
                        Some((step, only(bundle, sources).unwrap_or_else(|| bundle.clone())))
                    }
                    _ => None,
                });
                let taken = taken.collect();
                let Some(Value::Items(items)) = self.values[*maker].take() else {
                    return Err(failed(graph.core(*maker, run.chip))(StageError::lost()));
                };
                self.begin(unit);
                Ok(Job::Region { region, items, shared: taken })
            }
        }
    }

    /// Takes what postprocessing needs.
    pub(super) fn reply(&mut self, stage: &Arc<StageCore>) -> Result<Bundle, PipelineError> {
        let run = self.run;
        self.input(self.has_begun.len() - 1, &run.graph.reply, stage)
    }

    /// The context from before the items that a step gathers.
    fn base(&self, inputs: &Inputs) -> Option<&Arc<[u8]>> {
        let region_of = &self.run.graph.plan.region_of;
        let outer = inputs.sources.iter().find_map(|source| match &self.values[source.from] {
            Some(Value::One(bundle)) => Some(&bundle.context),
            _ => None,
        });
        let region = inputs.sources.iter().find_map(|source| region_of[source.from]);
        outer.or_else(|| self.bases[region?].as_ref())
    }

    /// The input of a stage that runs once.
    fn input(&mut self, unit: usize, inputs: &Inputs, stage: &Arc<StageCore>) -> Result<Bundle, PipelineError> {
        let run = self.run;
        let names = |step: usize| run.graph.name(step);
        let input = if inputs.gather {
            let base = self.base(inputs);
            // The context of gathered items is made by the host, so it has the limit of the stage that gets it. It is not
            // made before that.
            let bytes = contexts(inputs, base, |step| self.values[step].as_ref());
            stage.check_context(bytes).map_err(failed(stage))?;
            let tensors = gathered_tensors(inputs, |step| self.values[step].as_ref());
            stage.check_gathered(tensors).map_err(failed(stage))?;
            gathered(inputs, &names, base, |step| self.values[step].as_ref())
        } else if let Some((from, bundle)) = self.take_alone(unit, inputs) {
            handed(from, &names, bundle)
        } else {
            joined(inputs, &names, |step| match &self.values[step] {
                Some(Value::One(bundle)) => Some(bundle),
                _ => None,
            })
        };
        let misfit = |text| failed(stage)(StageError::tensor_mismatch(text));
        let input = input.map_err(misfit)?;
        // With lengths, names and messages.
        stage.check_context(input.context.len()).map_err(failed(stage))?;
        self.begin(unit);
        Ok(input)
    }

    /// What a step has handed on, if the unit takes all of it and no other unit will take it.
    fn take_alone(&mut self, unit: usize, inputs: &Inputs) -> Option<(usize, Bundle)> {
        let [Source { from, tensor: None, rename: None }] = inputs.sources.as_slice() else { return None };
        let is_wanted = |(other, (sources, has_begun)): (usize, (&Vec<Source>, &bool))| {
            other != unit && !has_begun && sources.iter().any(|source| source.from == *from)
        };
        if self.run.graph.plan.taken.iter().zip(&self.has_begun).enumerate().any(is_wanted) {
            return None;
        }
        match self.values[*from].take() {
            Some(Value::One(bundle)) => Some((*from, bundle)),
            value => {
                self.values[*from] = value;
                None
            }
        }
    }

    /// A unit has taken its input.
    fn begin(&mut self, unit: usize) {
        self.has_begun[unit] = true;
        let run = self.run;
        run.graph.plan.taken[unit].iter().for_each(|source| self.release(source.from));
    }

    /// Drops the tensors of a step that no unit will take any more.
    fn release(&mut self, step: usize) {
        let run = self.run;
        let units = run.graph.plan.taken.iter().zip(&self.has_begun).filter(|(_, has_begun)| !**has_begun);
        let mut wanted = units.flat_map(|(sources, _)| sources).filter(|source| source.from == step).peekable();
        match &mut self.values[step] {
            value if wanted.peek().is_none() => *value = None,
            Some(Value::One(bundle)) => {
                if let Some(narrowed) = only(bundle, wanted) {
                    *bundle = narrowed;
                }
            }
            // A region takes all of its items; results are gathered soon.
            Some(Value::Items(_) | Value::Results(_)) | None => {}
        }
    }
}
