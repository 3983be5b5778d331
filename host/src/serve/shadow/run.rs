//! One shadow run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_runtime::comparison::Comparison;
use plimsoll_runtime::kind::StageKind;
use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::scheduling::{BackgroundRun, Priority, run_at_low_priority};
use plimsoll_runtime::stage::{Request, RunObserver, StageCore, StageError, StageReport};
use plimsoll_runtime::tensor::{Tensor, Tensors};

use super::{Claim, Shadows, size};
use crate::deploy::ServedPipeline;
use crate::records::Records;
use crate::records::recording::Recording;
use crate::records::shadow::{ChipPair, ComparedRun, Skipped, Times};
use crate::serve::blocking;

/// Outputs of at least this size are compared on a thread of their own.
const LARGE: u64 = 256 << 10;

/// A shadow run that waits.
pub(super) struct Job {
    pub(super) pipeline: Arc<ServedPipeline>,
    pub(super) request: Request,
    pub(super) pair: ChipPair,
    /// The item, from 0, if the stage runs for each item.
    pub(super) item: Option<usize>,
    pub(super) claim: Claim,
    pub(super) inputs: Tensors,
    /// The outputs of the chip that answered.
    pub(super) outputs: Tensors,
    /// How long the stage ran on the chip that answered.
    pub(super) time: Duration,
    pub(super) recording: Option<Recording>,
}

/// How a shadow run ended.
enum Verdict {
    Compared(Comparison, Times),
    Failed(StageError),
    Skipped(Skipped),
}

/// Counts a shadow run, however it ends.
struct Pending {
    records: Arc<Records>,
    pair: ChipPair,
    is_counted: bool,
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.is_counted {
            return;
        }
        if std::thread::panicking() {
            self.records.shadows.fail(&self.pair, Outcome::Internal);
        } else {
            self.records.shadows.skip(&self.pair, Skipped::Stopping);
        }
    }
}

impl Shadows {
    /// Starts a shadow run, which first waits for a slot.
    pub(super) fn start(self: &Arc<Self>, mut job: Job) {
        let shadows = Arc::clone(self);
        let records = Arc::clone(&self.records);
        let mut pending = Pending { records, pair: job.pair.clone(), is_counted: false };
        self.runtime.spawn(async move {
            let mut is_stopping = shadows.is_stopping.subscribe();
            let (request, item, recording) = (job.request.id.clone(), job.item, job.recording.take());
            let verdict = tokio::select! {
                biased;
                _ = is_stopping.wait_for(|is_stopping| *is_stopping) => Verdict::Skipped(Skipped::Stopping),
                verdict = shadows.run(job) => verdict,
            };
            pending.is_counted = true;
            let run = ComparedRun { request: &request, item };
            settle(&pending.records, &pending.pair, run, &verdict, recording);
        });
    }

    async fn run(&self, job: Job) -> Verdict {
        let Job { pipeline, request, pair, claim, inputs, outputs, time, .. } = job;
        let bytes = (size(&inputs) + size(&outputs)) as usize;
        let (inputs, outputs) = blocking::run(bytes, move || (detached(inputs), detached(outputs))).await;
        let slot = tokio::time::timeout(pipeline.deadline, Arc::clone(&self.slots).acquire_owned()).await;
        let Ok(Ok(slot)) = slot else { return Verdict::Skipped(Skipped::Late) };
        let Some(stage) = pipeline.infer_stage(&pair.stage, &pair.shadow) else {
            return Verdict::Skipped(Skipped::NoAnswer);
        };
        let background = BackgroundRun::new((slot, claim));
        let limit = pipeline.deadline.min(stage.limits.deadline);
        let mut observer = Observer { deadline: Instant::now() + limit, background, time: Duration::ZERO };
        match stage.run(&mut observer, &request, inputs).await {
            Ok(answer) => {
                let times = Times { chip: time, shadow: observer.time };
                let is_large = size(&outputs).max(size(&answer)) >= LARGE;
                let held = observer.background.clone();
                let compare = move || {
                    let _held = held;
                    Comparison::new(&outputs, &answer)
                };
                let comparison = match is_large {
                    false => Some(compare()),
                    true => run_at_low_priority("shadow", compare).await.ok().flatten(),
                };
                match comparison {
                    Some(comparison) => Verdict::Compared(comparison, times),
                    None => Verdict::Skipped(Skipped::NoCapacity),
                }
            }
            Err(error) => match error.outcome {
                Outcome::NoCapacity => Verdict::Skipped(Skipped::NoCapacity),
                Outcome::Deadline if observer.background.waited() >= limit / 2 => Verdict::Skipped(Skipped::Busy),
                _ => Verdict::Failed(error),
            },
        }
    }
}

/// The tensors in buffers of their own. An input may be a part of the body of the request, with everything that the caller
/// wrote around it, and an output a part of the buffer of a whole batch: all of it would be kept too, and is not counted.
fn detached(tensors: Tensors) -> Tensors {
    let detached = |(name, tensor): (String, Tensor)| {
        let data = tensor.data.detached();
        (name, Tensor::with_bytes(tensor.dimensions, tensor.ty, data))
    };
    tensors.into_iter().map(detached).collect()
}

/// Counts how a run ended, and logs and records it if that is worth it.
fn settle(records: &Records, pair: &ChipPair, run: ComparedRun<'_>, verdict: &Verdict, recording: Option<Recording>) {
    let ComparedRun { request, item } = run;
    let reason = match verdict {
        Verdict::Skipped(reason) => {
            records.shadows.skip(pair, *reason);
            None
        }
        Verdict::Failed(error) => {
            let outcome = error.outcome.as_str();
            let count = records.shadows.fail(pair, error.outcome);
            // At 1, 2, 4, 8 … failures, so that a chip that always fails does not fill the log and the recordings.
            count.is_power_of_two().then(|| {
                tracing::warn!(
                    target: "plimsoll::shadow",
                    pipeline = pair.pipeline,
                    stage = pair.stage,
                    shadow = pair.shadow,
                    request,
                    item,
                    outcome,
                    count,
                    "the shadow chip failed, and the caller has its answer: {}: {}", error.public, error.detail
                );
                outcome.to_owned()
            })
        }
        Verdict::Compared(comparison, times) => {
            let reason = records.shadows.compare(pair, run, comparison, *times);
            if let (Some(reason), Some(_)) = (&reason, comparison.mismatch()) {
                tracing::warn!(
                    target: "plimsoll::shadow",
                    pipeline = pair.pipeline,
                    stage = pair.stage,
                    chip = pair.chip,
                    shadow = pair.shadow,
                    request,
                    item,
                    "the outputs of the shadow chip cannot be compared: {reason}"
                );
            }
            reason
        }
    };
    if let (Some(reason), Some(recording)) = (reason, recording) {
        let item = item.map_or_else(String::new, |item| format!(", item {item}"));
        let step = match pair.stage == StageKind::Infer.as_str() {
            true => String::new(),
            false => format!(" of step {}", pair.stage),
        };
        recording.keep(format!("shadow {}{step}{item}: {reason}", pair.shadow));
    }
}

/// Observes the stage of the shadow chip. Nothing is counted for the request, its caller or a canary.
struct Observer {
    deadline: Instant,
    background: BackgroundRun,
    time: Duration,
}

impl RunObserver for Observer {
    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn priority(&self) -> Priority {
        Priority::Background(self.background.clone())
    }

    fn stage_started(&mut self, _stage: &StageCore) {}

    fn stage_ended(&mut self, report: StageReport, _error: Option<&StageError>) {
        self.time = report.duration;
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_runtime::tensor::{TensorBytes, TensorType};

    use super::*;

    #[test]
    fn a_waiting_shadow_run_keeps_no_body_and_no_batch() {
        let body = TensorBytes::from(vec![7; 1 << 20]);
        let part = Tensor::with_bytes(vec![4], TensorType::U8, body.view(8..12));
        let kept = detached(vec![("x".to_owned(), part)]);
        assert_eq!(body.into_buffer().map(|buffer| buffer.len()), Some(1 << 20), "nothing else keeps it");
        // The name counts, too.
        assert_eq!((&*kept[0].1.data, size(&kept)), (&[7; 4][..], 4 + 1));
    }
}
