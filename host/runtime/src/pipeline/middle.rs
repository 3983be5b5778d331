//! What runs between preprocessing and postprocessing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::graph::Graph;
use crate::stage::InferStage;

/// What runs between the first and the last stage.
pub enum Middle {
    /// One infer stage on each chip.
    Chips(BTreeMap<String, InferStage>),
    /// Steps, on each of these chips.
    Steps(Arc<Graph>, Vec<String>),
}

/// The chip of a request.
#[derive(Clone, Copy)]
pub enum SelectedChip<'a> {
    /// An infer stage of the pipeline.
    Stage(&'a InferStage),
    /// A chip of all steps.
    Steps(&'a Arc<Graph>, &'a str),
}

impl<'a> From<&'a InferStage> for SelectedChip<'a> {
    fn from(stage: &'a InferStage) -> Self {
        Self::Stage(stage)
    }
}
