//! Whether the device of a model is in service. After several runs in a row that the device itself failed, the model is
//! taken out of service: its runs are refused at once, until a trial succeeds (`monitored.rs`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::error::RunError;

/// When a device is taken out of service, and how often it is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthRules {
    /// How many runs in a row the device must fail.
    pub failures: u32,
    /// The time between two trials.
    pub retry: Duration,
}

impl Default for HealthRules {
    fn default() -> Self {
        Self { failures: 3, retry: Duration::from_secs(10) }
    }
}

/// Observes the device of a model.
pub trait HealthObserver: Send + Sync {
    /// The device failed a run.
    fn failed(&self);
    /// The model was taken out of service, or is in service again.
    fn changed(&self, is_in_service: bool);
}

/// The health of a model's device.
#[derive(Default)]
pub(super) struct Health(Mutex<State>);

#[derive(Default)]
struct State {
    rules: HealthRules,
    observer: Option<Arc<dyn HealthObserver>>,
    /// Runs in a row that the device failed.
    failures: u32,
    /// The error of the run after which the model was taken out of service.
    out: Option<String>,
}

impl Health {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the rules and the observer.
    pub(super) fn configure(&self, rules: HealthRules, observer: Arc<dyn HealthObserver>) {
        let mut state = self.state();
        state.rules = rules;
        observer.changed(state.out.is_none());
        state.observer = Some(observer);
    }

    /// The time between two trials.
    pub(super) fn retry(&self) -> Duration {
        self.state().rules.retry
    }

    /// The error of a run while the model is out of service; `None` if it is in service.
    pub(super) fn refusal(&self) -> Option<RunError> {
        let state = self.state();
        let last = state.out.as_ref()?;
        Some(RunError::OutOfService { last: last.clone(), retry: state.rules.retry })
    }

    /// Counts a run. Returns true if it takes the model out of service.
    pub(super) fn record<T>(&self, result: &Result<T, RunError>) -> bool {
        let mut state = self.state();
        let error = match result {
            Ok(_) => {
                state.failures = 0;
                return false;
            }
            Err(error @ (RunError::Device(_) | RunError::OutOfMemory(_))) => error,
            // Other errors say nothing about the device.
            Err(_) => return false,
        };
        state.failures = state.failures.saturating_add(1);
        if let Some(observer) = &state.observer {
            observer.failed();
        }
        if state.out.is_some() || state.failures < state.rules.failures {
            return false;
        }
        state.out = Some(error.to_string());
        if let Some(observer) = &state.observer {
            observer.changed(false);
        }
        true
    }

    /// A trial succeeded.
    pub(super) fn put_back(&self) {
        let mut state = self.state();
        state.failures = 0;
        state.out = None;
        if let Some(observer) = &state.observer {
            observer.changed(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_of_the_device_in_a_row_take_a_model_out_of_service() {
        let health = Health::default();
        let (lost, own) = (Err::<(), _>(RunError::Device("lost".into())), Err::<(), _>(RunError::backend("a shape")));
        for _ in 0..10 {
            assert!(!health.record(&own), "the model's own error");
            assert!(!health.record(&lost) && !health.record(&lost));
            assert!(!health.record(&Ok(())));
        }
        assert_eq!(health.refusal(), None);
        assert!(!health.record(&lost) && !health.record(&own) && !health.record(&lost));
        assert!(health.record(&Err::<(), _>(RunError::OutOfMemory("full".into()))));
        assert!(!health.record(&lost), "it is out already");
        assert!(health.refusal().expect("out").to_string().contains("full"));
        health.put_back();
        assert_eq!(health.refusal(), None);
        assert!(!health.record(&lost));
    }
}
