//! What the runtime reports about the stage runs of a request.

use std::time::Instant;

use plimsoll_runtime::stage::{RunObserver, StageCore, StageError, StageReport};
use plimsoll_runtime::tensor::Tensors;

use super::RequestRecord;

impl RunObserver for RequestRecord {
    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn chip_changed(&mut self, chip: &str) {
        self.set_chip(chip);
    }

    fn inferring(&mut self, inputs: &Tensors) {
        let body = self.input.as_ref().map_or(0, |input| input.bytes());
        if let Some(shadow) = &mut self.shadow {
            shadow.inputs(inputs, body);
        }
    }

    fn inferred(&mut self, outputs: &Tensors) {
        if let Some(shadow) = &mut self.shadow {
            shadow.outputs(&self.chip, outputs);
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
        self.stages.push(report);
    }
}
