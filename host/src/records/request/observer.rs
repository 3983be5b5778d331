//! What the runtime reports about the stage runs of a request.

use std::sync::Arc;
use std::time::Instant;

use plimsoll_runtime::stage::{RunObserver, StageCore, StageError, StageReport};
use plimsoll_runtime::tensor::Tensors;

use super::RequestRecord;
use crate::records::shadow::{ShadowTap, Tapped};

impl RequestRecord {
    /// Passes the tensors of the request's infer stages on for shadow runs.
    pub fn set_shadow(&mut self, tap: Arc<dyn ShadowTap>) {
        self.shadow = Some(Tapped::new(tap));
    }

    /// The bytes of the body that are kept because the input may be recorded.
    pub fn kept_bytes(&self) -> u64 {
        self.input.as_ref().map_or(0, |input| input.bytes())
    }
}

impl RunObserver for RequestRecord {
    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn chip_changed(&mut self, chip: &str) {
        self.set_chip(chip);
    }

    fn inferring(&mut self, stage: &StageCore, item: Option<usize>, inputs: &Tensors) {
        if let Some(shadow) = &mut self.shadow {
            shadow.inferring(&stage.name, item, inputs);
        }
    }

    fn inferred(&mut self, outputs: &Tensors) {
        if let Some(shadow) = &mut self.shadow {
            shadow.inferred(&self.chip, outputs);
        }
    }

    fn fork(&mut self) -> Option<Box<dyn RunObserver>> {
        Some(Box::new(self.forked_record()))
    }

    fn joined(&mut self) {
        self.take_forked();
    }

    fn logs_output(&self, stage: &StageCore) -> bool {
        self.failures.logs_output(&stage.name)
    }

    fn stage_started(&mut self, stage: &StageCore) {
        self.running = Some(self.accounting.started(stage));
    }

    fn stage_ended(&mut self, report: StageReport, error: Option<&StageError>) {
        let is_highest = self.accounting.ended((&self.id, &self.failures), self.running.take(), &report, error);
        if let Some(input) = self.input.as_mut().filter(|_| is_highest) {
            input.add_highest(&report.stage);
        }
        if let Some(shadow) = &mut self.shadow {
            shadow.stage_ended(&report);
        }
        self.stages.push(report);
    }
}
