//! An observer that limits the memory of a whole request.

use std::ops::DerefMut;
use std::sync::Arc;
use std::time::Instant;

use crate::cap::RequestMemory;
use crate::scheduling::Priority;
use crate::stage::{RunObserver, StageCore, StageError, StageReport};
use crate::tensor::Tensors;

/// Passes everything on to another observer, and adds the limit of the request.
pub(super) struct Metered<O> {
    pub(super) inner: O,
    pub(super) memory: Arc<RequestMemory>,
}

impl<O> RunObserver for Metered<O>
where
    O: DerefMut + Send,
    O::Target: RunObserver,
{
    fn deadline(&self) -> Instant {
        self.inner.deadline()
    }

    fn priority(&self) -> Priority {
        self.inner.priority()
    }

    fn memory(&self) -> Option<&Arc<RequestMemory>> {
        Some(&self.memory)
    }

    fn inferring(&mut self, stage: &StageCore, item: Option<usize>, inputs: &Tensors) {
        self.inner.inferring(stage, item, inputs);
    }

    fn inferred(&mut self, outputs: &Tensors) {
        self.inner.inferred(outputs);
    }

    fn chip_changed(&mut self, chip: &str) {
        self.inner.chip_changed(chip);
    }

    fn fork(&mut self) -> Option<Box<dyn RunObserver>> {
        Some(Box::new(Metered { inner: self.inner.fork()?, memory: Arc::clone(&self.memory) }))
    }

    fn joined(&mut self) {
        self.inner.joined();
    }

    fn logs_output(&self, stage: &StageCore) -> bool {
        self.inner.logs_output(stage)
    }

    fn stage_started(&mut self, stage: &StageCore) {
        self.inner.stage_started(stage);
    }

    fn stage_ended(&mut self, report: StageReport, error: Option<&StageError>) {
        self.inner.stage_ended(report, error);
    }
}
