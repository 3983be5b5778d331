//! A run that its caller waits for only so long.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::AcqRel;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::Monitored;
use super::slots::Slot;
use super::workers::Handover;
use crate::nn::cancellation::Cancellation;
use crate::nn::error::RunError;
use crate::scheduling::is_low_priority;
use crate::tensor::{Tensor, Tensors};

/// Watches a run in the background. It holds a session and a permit of the model, so if it does not end, the others would wait for
/// it without a word.
struct Watch {
    /// True when the run has ended or was counted as one that hangs: the first of the two decides.
    is_decided: Arc<AtomicBool>,
    bound: Duration,
    task: JoinHandle<()>,
}

impl Watch {
    /// `None` without a runtime.
    fn begin(model: &Arc<Monitored>, inputs: &[Tensor], bound: Duration) -> Option<Self> {
        let is_decided = Arc::new(AtomicBool::new(false));
        let (weak, inputs, decided) = (Arc::downgrade(model), inputs.to_vec(), Arc::clone(&is_decided));
        let task = model.runtime.as_ref()?.spawn(async move {
            tokio::time::sleep(bound).await;
            let Some(model) = weak.upgrade() else { return };
            model.health.record_hung();
            if decided.swap(true, AcqRel) {
                model.health.record_late_end();
                return;
            }
            let sessions = model.model.properties().concurrent_runs;
            model.record(&inputs, &Err(RunError::Hung { bound, sessions }));
        });
        Some(Self { is_decided, bound, task })
    }

    /// The run has ended. Returns the bound if it was counted as one that hangs.
    fn end(self) -> Option<Duration> {
        let is_late = self.is_decided.swap(true, AcqRel);
        self.task.abort();
        is_late.then_some(self.bound)
    }
}

impl Monitored {
    /// Makes a run in the session of the slot.
    pub(super) fn run_in(
        self: &Arc<Self>,
        slot: Slot,
        inputs: &[Tensor],
        cancellation: &Cancellation,
    ) -> Result<Tensors, RunError> {
        let bound = self.health.hang_after();
        // A run in the background keeps its low priority. Its thread is its own.
        let Some(bound) = bound.filter(|_| !is_low_priority()) else {
            let (_slot, since) = (slot, Instant::now());
            let watch = bound.and_then(|bound| Watch::begin(self, inputs, bound));
            let result = match &watch {
                None => self.model.run_unless_cancelled(inputs, cancellation),
                Some(_) => catch_unwind(AssertUnwindSafe(|| self.model.run_unless_cancelled(inputs, cancellation)))
                    .unwrap_or(Err(RunError::Panicked)),
            };
            if let Some(bound) = watch.and_then(Watch::end) {
                self.end_late(&result, since.elapsed(), bound);
            }
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
        if result.is_ok() && !is_low_priority() {
            self.health.record_late_time(time);
        }
        let name = &self.name;
        match result {
            // Its caller is gone, so a run that the library stopped was cancelled, too: the device answers.
            Err(error) if !error.is_of_inputs() && *error != RunError::Cancelled => {
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::nn::health::{HangRule, Health, HealthObserver, HealthRules};
    use crate::nn::model::{Model, ModelProperties};
    use crate::nn::monitored::MonitoredModel;
    use crate::scheduling::run_at_low_priority;

    /// A model whose runs end when the test says so.
    struct Waits(ModelProperties, Mutex<Receiver<()>>);

    impl Model for Waits {
        fn properties(&self) -> &ModelProperties {
            &self.0
        }

        fn run(&self, _inputs: &[Tensor]) -> Result<Tensors, RunError> {
            self.1.lock().expect("whole").recv().expect("the test says so");
            Ok(Vec::new())
        }
    }

    struct Unobserved;

    impl HealthObserver for Unobserved {
        fn failed(&self) {}
        fn changed(&self, _is_in_service: bool) {}
        fn hung(&self, _runs: u64) {}
    }

    /// Other runs of the model would wait for its session for ever.
    #[tokio::test]
    async fn a_run_in_the_background_that_does_not_end_takes_the_model_out_of_service() {
        let health = Arc::new(Health::default());
        let hang = HangRule::After(Duration::from_millis(20));
        let rules = HealthRules { hang, retry: Duration::from_secs(600), ..HealthRules::default() };
        health.configure(rules, Arc::new(Unobserved));
        let (end, ends) = channel();
        let model = Waits(ModelProperties::on_cpu(Vec::new(), Vec::new(), 1), Mutex::new(ends));
        let model = Arc::new(MonitoredModel::new("m".into(), Box::new(model), Arc::clone(&health), None));
        let background = {
            let model = Arc::clone(&model);
            tokio::spawn(run_at_low_priority("shadow", move || model.run(&[])))
        };
        while health.refusal().is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(health.has_hung());
        assert!(matches!(model.run(&[]), Err(RunError::OutOfService { .. })), "it is told at once");
        end.send(()).expect("it waits");
        background.await.expect("no panic").expect("a thread").expect("no panic").expect("an answer");
        assert!(!health.has_hung() && health.refusal().is_none(), "it ended late, so the device answers");
    }
}
