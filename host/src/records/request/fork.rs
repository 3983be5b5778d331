//! Stage runs of a request at the same time, each with an observer of its own. They are counted when they end, also if the
//! request has ended before.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use plimsoll_runtime::stage::{RunObserver, StageCore, StageError, StageReport};
use plimsoll_runtime::tensor::Tensors;

use super::failures::Failures;
use super::{Accounting, Reports, RequestRecord};
use crate::records::memory::series::StageSeries;
use crate::records::shadow::Tapped;

/// Observes runs at the same time as others of the request.
pub(super) struct Fork {
    id: String,
    deadline: Instant,
    accounting: Accounting,
    running: Option<Arc<StageSeries>>,
    reports: Reports,
    failures: Arc<Failures>,
    /// Gets the tensors, if a shadow chip may compute them, too.
    shadow: Option<Tapped>,
}

impl RequestRecord {
    pub(super) fn forked_record(&mut self) -> Fork {
        Fork {
            id: self.id.clone(),
            deadline: self.deadline,
            accounting: self.accounting.clone(),
            running: None,
            reports: Arc::clone(self.forked.get_or_insert_default()),
            failures: Arc::clone(&self.failures),
            shadow: self.shadow.as_ref().map(Tapped::fork),
        }
    }

    /// Takes the reports of runs that have ended.
    pub(super) fn take_forked(&mut self) {
        let Some(forked) = &self.forked else { return };
        for (report, is_highest) in forked.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            if let Some(input) = self.input.as_mut().filter(|_| is_highest) {
                input.add_highest(&report.stage);
            }
            self.stages.push(report);
        }
    }
}

impl RunObserver for Fork {
    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn fork(&mut self) -> Option<Box<dyn RunObserver>> {
        Some(Box::new(Self {
            id: self.id.clone(),
            deadline: self.deadline,
            accounting: self.accounting.clone(),
            running: None,
            reports: Arc::clone(&self.reports),
            failures: Arc::clone(&self.failures),
            shadow: self.shadow.as_ref().map(Tapped::fork),
        }))
    }

    fn inferring(&mut self, stage: &StageCore, item: Option<usize>, inputs: &Tensors) {
        if let Some(shadow) = &mut self.shadow {
            shadow.inferring(&stage.name, item, inputs);
        }
    }

    fn inferred(&mut self, outputs: &Tensors) {
        if let Some(shadow) = &mut self.shadow {
            // The steps of a request run on one chip.
            shadow.inferred(&self.accounting.route.chip, outputs);
        }
    }

    fn logs_output(&self, stage: &StageCore) -> bool {
        self.failures.logs_output(&stage.name)
    }

    fn stage_started(&mut self, stage: &StageCore) {
        self.running = Some(self.accounting.started(stage));
    }

    fn stage_ended(&mut self, report: StageReport, error: Option<&StageError>) {
        let is_highest = self.accounting.ended((&self.id, &self.failures), self.running.take(), &report, error);
        if let Some(shadow) = &mut self.shadow {
            shadow.stage_ended(&report);
        }
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).push((report, is_highest));
    }
}

impl Accounting {
    /// A stage run has begun.
    pub(super) fn started(&self, stage: &StageCore) -> Arc<StageSeries> {
        let series = self.route.stage(stage, &self.records.metrics);
        series.live.inc();
        series
    }

    /// Counts a stage run that has ended. Returns true if its high-water mark is the highest of its series so far.
    pub(super) fn ended(
        &self,
        (request, failures): (&str, &Failures),
        series: Option<Arc<StageSeries>>,
        report: &StageReport,
        error: Option<&StageError>,
    ) -> bool {
        // Details that the caller must not see go to the log only.
        if let Some(error) = error.filter(|error| failures.add(&report.stage) && !error.detail.is_empty()) {
            tracing::warn!(
                target: "plimsoll::stage",
                request = %request,
                stage = report.stage.as_str(),
                plugin = %report.plugin,
                outcome = error.outcome.as_str(),
                "{}: {}", error.public, error.detail
            );
        }
        series.is_some_and(|series| {
            series.live.dec();
            self.records.memory.record_stage((&self.route, self.trace), &series, report, &self.caller, Instant::now())
        })
    }
}
