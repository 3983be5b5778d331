//! Stops the run of a batch if all its callers are gone.

use std::sync::atomic::{AtomicUsize, Ordering::AcqRel};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cap::BatchWait;
use crate::nn::cancellation::Cancellation;

/// The run of a batch: it is cancelled when its last caller leaves.
pub(super) struct SharedRun {
    /// The callers that still wait.
    present: AtomicUsize,
    pub(super) cancellation: Cancellation,
}

impl SharedRun {
    /// A run for these callers. A caller that has left before counts as gone.
    pub(super) fn of<'a>(callers: impl ExactSizeIterator<Item = &'a Caller>) -> Arc<Self> {
        let run = Arc::new(Self { present: AtomicUsize::new(callers.len()), cancellation: Cancellation::default() });
        for caller in callers {
            let mut state = caller.0.lock().unwrap_or_else(PoisonError::into_inner);
            if state.is_gone {
                run.leave();
            } else {
                state.run = Some(Arc::clone(&run));
            }
        }
        run
    }

    fn leave(&self) {
        if self.present.fetch_sub(1, AcqRel) == 1 {
            self.cancellation.cancel();
        }
    }
}

/// Who waits for an answer.
#[derive(Default)]
pub(super) struct Caller(Mutex<State>);

#[derive(Default)]
struct State {
    is_gone: bool,
    /// The run that computes the answer.
    run: Option<Arc<SharedRun>>,
    /// How long it waited for the batch.
    wait: Option<BatchWait>,
}

impl Caller {
    /// The batch was sent to the device.
    pub(super) fn sent(&self, wait: BatchWait) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).wait = Some(wait);
    }

    /// How long it waited for the batch; `None` if the batch was not sent.
    pub(super) fn wait(&self) -> Option<BatchWait> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).wait
    }

    fn leave(&self) {
        let run = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.is_gone = true;
            state.run.take()
        };
        if let Some(run) = run {
            run.leave();
        }
    }
}

/// Lets a caller leave when it is dropped: with its answer, or because its request ended.
pub(super) struct LeaveOnDrop(pub(super) Arc<Caller>);

impl Drop for LeaveOnDrop {
    fn drop(&mut self) {
        self.0.leave();
    }
}
