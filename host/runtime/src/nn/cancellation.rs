//! Stops runs of models whose callers are gone.

use std::sync::{Arc, Mutex, PoisonError};

/// Stops a run, for example by a flag of the library.
type Stop = Box<dyn Fn() + Send>;

/// Stops one run of a model if its caller goes away. A backend that cannot stop a run ignores it. Clones belong to the same
/// run.
#[derive(Clone, Default)]
pub struct Cancellation(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    is_cancelled: bool,
    stop: Option<Stop>,
}

impl Cancellation {
    /// Stops the run, now or when it starts.
    pub fn cancel(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_cancelled = true;
        if let Some(stop) = &state.stop {
            stop();
        }
    }

    /// True if the caller is gone.
    pub fn is_cancelled(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_cancelled
    }

    /// Makes a run that can be stopped with `stop`.
    pub fn during<T>(&self, stop: impl Fn() + Send + 'static, run: impl FnOnce() -> T) -> T {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_cancelled {
            stop();
        }
        state.stop = Some(Box::new(stop));
        drop(state);
        let _end = End(self);
        run()
    }
}

/// When the run ends, also by a panic, removes the function that stops it.
struct End<'a>(&'a Cancellation);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).stop = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;

    #[test]
    fn a_run_is_stopped_while_it_lasts_and_not_after_it() {
        let stopped = Arc::new(AtomicU32::new(0));
        let stop = |count: &Arc<AtomicU32>| {
            let count = Arc::clone(count);
            move || {
                count.fetch_add(1, Relaxed);
            }
        };
        let cancellation = Cancellation::default();
        cancellation.during(stop(&stopped), || ());
        cancellation.cancel();
        assert_eq!(stopped.load(Relaxed), 0, "the run has ended");
        cancellation.during(stop(&stopped), || assert_eq!(stopped.load(Relaxed), 1, "stopped before it starts"));
        let cancellation = Cancellation::default();
        cancellation.during(stop(&stopped), || cancellation.cancel());
        assert_eq!(stopped.load(Relaxed), 2);
    }
}
