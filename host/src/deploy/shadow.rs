//! A shadow of an infer stage: a chip that also computes a share of its runs.

use plimsoll_runtime::kind::{StageKind, StageName};

use super::request_share::RequestShare;
use crate::config::{Pipeline, ShadowRules};

/// A chip that also computes a share of the runs of an infer stage, to compare its outputs.
pub struct Shadow {
    /// The stage: that of the pipeline, or a step.
    pub stage: StageName,
    /// The chip, which is one of the pipeline and not its default.
    pub chip: String,
    /// The part of the runs, from 0 to 1.
    pub share: f64,
    selection: RequestShare,
}

impl Shadow {
    /// The shadows of a pipeline.
    pub(super) fn all(pipeline: &Pipeline) -> Vec<Self> {
        let of_steps = pipeline.steps.iter().filter_map(|step| {
            let rules = step.shadow.as_ref()?;
            Some((StageName::step(step.kind, &step.name), rules))
        });
        let own = pipeline.shadow.iter().map(|rules| (StageName::from(StageKind::Infer), rules));
        own.chain(of_steps).map(|(stage, rules)| Self::new(stage, rules)).collect()
    }

    fn new(stage: StageName, rules: &ShadowRules) -> Self {
        Self { stage, chip: rules.chip.clone(), share: rules.share, selection: RequestShare::new(rules.share) }
    }

    /// Returns true if the shadow computes the next run, too.
    pub fn takes_next(&self) -> bool {
        self.selection.takes_next()
    }
}
