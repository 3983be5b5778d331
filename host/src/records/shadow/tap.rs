//! What the record of a request passes on for shadow runs.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_runtime::kind::StageName;
use plimsoll_runtime::stage::StageReport;
use plimsoll_runtime::tensor::Tensors;

use crate::records::recording::Recording;

/// Gets the tensors of one request, also from runs at the same time.
pub trait ShadowTap: Send + Sync {
    /// An infer stage is about to run on these inputs; for an item, if it is a step that runs for each. Returns a number for
    /// the run if it will be compared.
    fn inputs(&self, stage: &StageName, item: Option<usize>, inputs: &Tensors) -> Option<usize>;

    /// The run with this number answered on this chip, after this time.
    fn outputs(&self, run: usize, chip: &str, outputs: &Tensors, time: Duration);

    /// The request has ended. The recording is its input, if the pipeline records inputs.
    fn ended(&self, recording: &mut dyn FnMut() -> Option<Recording>);
}

/// Follows the runs that one observer sees, which are one after the other.
pub(in crate::records) struct Tapped {
    tap: Arc<dyn ShadowTap>,
    /// The number of the run, if it is compared.
    run: Option<usize>,
    /// How long the stage that ended last ran.
    time: Duration,
}

impl Tapped {
    pub(in crate::records) fn new(tap: Arc<dyn ShadowTap>) -> Self {
        Self { tap, run: None, time: Duration::ZERO }
    }

    /// For an observer of runs at the same time.
    pub(in crate::records) fn fork(&self) -> Self {
        Self::new(Arc::clone(&self.tap))
    }

    pub(in crate::records) fn inferring(&mut self, stage: &StageName, item: Option<usize>, inputs: &Tensors) {
        self.run = self.tap.inputs(stage, item, inputs);
    }

    pub(in crate::records) fn stage_ended(&mut self, report: &StageReport) {
        self.time = report.duration;
    }

    pub(in crate::records) fn inferred(&mut self, chip: &str, outputs: &Tensors) {
        if let Some(run) = self.run.take() {
            self.tap.outputs(run, chip, outputs, self.time);
        }
    }

    pub(in crate::records) fn request_ended(self, mut recording: impl FnMut() -> Option<Recording>) {
        self.tap.ended(&mut recording);
    }
}
