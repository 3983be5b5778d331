//! A run that its caller waits for only so long.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Monitored;
use super::slots::Slot;
use super::workers::Handover;
use crate::nn::cancellation::Cancellation;
use crate::nn::error::RunError;
use crate::scheduling::is_low_priority;
use crate::tensor::{Tensor, Tensors};

impl Monitored {
    /// Makes a run in the session of the slot.
    pub(super) fn run_in(
        self: &Arc<Self>,
        slot: Slot,
        inputs: &[Tensor],
        cancellation: &Cancellation,
    ) -> Result<Tensors, RunError> {
        // A run in the background keeps its low priority, and has its own limits.
        let Some(bound) = self.health.hang_after().filter(|_| !is_low_priority()) else {
            let (_slot, since) = (slot, Instant::now());
            let result = self.model.run_unless_cancelled(inputs, cancellation);
            // How long a run in the background takes says nothing about the others.
            if result.is_ok() && !is_low_priority() {
                self.health.record_time(since.elapsed());
            }
            return result;
        };
        let answer = Arc::new(Handover::default());
        let job = {
            let (this, answer) = (Arc::clone(self), Arc::clone(&answer));
            let (inputs, cancellation) = (inputs.to_vec(), cancellation.clone());
            move || {
                let since = Instant::now();
                let run = || this.model.run_unless_cancelled(&inputs, &cancellation);
                let result = catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(RunError::Panicked));
                // The caller uses their buffers again, and the next run may start when this one is answered.
                drop((inputs, slot));
                if let Some(late) = answer.give((result, since.elapsed())) {
                    this.end_late(&late.0, late.1, bound);
                }
            }
        };
        // Without a thread, the run is made here.
        if let Some(job) = self.workers.start(Box::new(job)) {
            job();
        }
        let Some((result, time)) = answer.wait(bound, || self.health.record_hung()) else {
            return Err(RunError::Hung { bound, sessions: self.model.properties().concurrent_runs });
        };
        if result.is_ok() {
            self.health.record_time(time);
        }
        result
    }

    /// A run that had not ended in time has ended.
    fn end_late(&self, result: &Result<Tensors, RunError>, time: Duration, bound: Duration) {
        self.health.record_late_end();
        let name = &self.name;
        match result {
            Err(error) if !error.is_of_inputs() => {
                tracing::warn!("model {name}: a run that had not ended after {bound:?} ended after {time:.1?}: {error}");
            }
            _ if self.health.refusal().is_some() => self.put_back(&format!(
                "a run that had not ended after {bound:?} ended after {time:.1?}, so its device is in service again. If \
                 runs may take so long, raise `hang_after` of the model"
            )),
            _ => tracing::warn!("model {name}: a run that had not ended after {bound:?} ended after {time:.1?}"),
        }
    }
}
