//! Whether the device of a model is in service. After several runs in a row that the device itself failed, or after one that
//! does not end, the model is taken out of service: its runs are refused at once, until a trial succeeds (`monitored.rs`).

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
    /// When a run that has not ended means that the device hangs.
    pub hang: HangRule,
}

impl Default for HealthRules {
    fn default() -> Self {
        Self { failures: 3, retry: Duration::from_secs(10), hang: HangRule::Never }
    }
}

/// When a run that has not ended means that the device hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HangRule {
    /// Never: a run may take any time.
    Never,
    /// After this time.
    After(Duration),
    /// After this time, but not before ten times the longest run of the model so far.
    AtLeast(Duration),
}

impl HangRule {
    /// Much longer than a run of an accelerator takes, so that a device that is only slow stays in service.
    pub const OF_ACCELERATORS: Self = Self::AtLeast(Duration::from_secs(120));
}

/// A run that takes as many times as long as the longest one before is not only slow.
const TIMES_LONGEST: u32 = 10;

/// Observes the device of a model.
pub trait HealthObserver: Send + Sync {
    /// The device failed a run.
    fn failed(&self);
    /// The model was taken out of service, or is in service again.
    fn changed(&self, is_in_service: bool);
    /// So many runs have not ended in time, and hold their sessions.
    fn hung(&self, runs: u64);
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
    /// How often it was taken out of service.
    outages: u64,
    /// Runs that have not ended in time.
    hung: u64,
    /// The longest and the shortest run that ended in time.
    longest: Duration,
    shortest: Option<Duration>,
}

impl State {
    fn set_hung(&mut self, runs: u64) {
        self.hung = runs;
        if let Some(observer) = &self.observer {
            observer.hung(runs);
        }
    }
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
        observer.hung(state.hung);
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

    /// The time after which a run that has not ended means that the device hangs; `None` if it never does.
    pub(super) fn hang_after(&self) -> Option<Duration> {
        let state = self.state();
        match state.rules.hang {
            HangRule::Never => None,
            HangRule::After(time) => Some(time),
            HangRule::AtLeast(time) => Some(time.max(state.longest.saturating_mul(TIMES_LONGEST))),
        }
    }

    /// Counts a run that ended in time.
    pub(super) fn record_time(&self, time: Duration) {
        let mut state = self.state();
        state.longest = state.longest.max(time);
        state.shortest = Some(state.shortest.map_or(time, |shortest| shortest.min(time)));
    }

    /// Counts a run that ended late: the next one may take as long, so it has twice the time. Ten times would be hours.
    pub(super) fn record_late_time(&self, time: Duration) {
        let mut state = self.state();
        state.longest = state.longest.max(time.saturating_mul(2) / TIMES_LONGEST);
    }

    /// Forgets how long runs took so far, but for the shortest one, as if each of `rows` rows took so long: the first run of a shape
    /// may compile for minutes, and later ones do not.
    pub(super) fn forget_first_runs(&self, rows: u32) {
        let mut state = self.state();
        state.longest = state.shortest.unwrap_or_default().saturating_mul(rows.max(1));
    }

    /// Returns true while a run has not ended in time.
    pub(super) fn has_hung(&self) -> bool {
        self.state().hung > 0
    }

    /// The runs that have not ended in time.
    pub(super) fn hung_runs(&self) -> u64 {
        self.state().hung
    }

    /// A run has not ended in time.
    pub(super) fn record_hung(&self) {
        let mut state = self.state();
        let runs = state.hung + 1;
        state.set_hung(runs);
    }

    /// A run that had not ended in time has ended.
    pub(super) fn record_late_end(&self) {
        let mut state = self.state();
        let runs = state.hung.saturating_sub(1);
        state.set_hung(runs);
    }

    /// Counts a run. Returns the number of the outage if the run takes the model out of service. A run that has not ended
    /// does so at once: it holds its session, so a device with one session could never fail several runs in a row.
    pub(super) fn record<T>(&self, result: &Result<T, RunError>) -> Option<u64> {
        let mut state = self.state();
        let error = match result {
            Ok(_) => {
                state.failures = 0;
                return None;
            }
            Err(error @ (RunError::Device(_) | RunError::OutOfMemory(_) | RunError::Hung { .. })) => error,
            // Other errors say nothing about the device.
            Err(_) => return None,
        };
        state.failures = state.failures.saturating_add(1);
        if let Some(observer) = &state.observer {
            observer.failed();
        }
        let is_enough = state.failures >= state.rules.failures || matches!(error, RunError::Hung { .. });
        if state.out.is_some() || !is_enough {
            return None;
        }
        state.out = Some(error.to_string());
        state.outages += 1;
        if let Some(observer) = &state.observer {
            observer.changed(false);
        }
        Some(state.outages)
    }

    /// Returns true while the model is out of service since this outage.
    pub(super) fn is_out_since(&self, outage: u64) -> bool {
        let state = self.state();
        state.out.is_some() && state.outages == outage
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
            assert_eq!(health.record(&own), None, "the model's own error");
            assert_eq!((health.record(&lost), health.record(&lost)), (None, None));
            assert_eq!(health.record(&Ok(())), None);
        }
        assert_eq!(health.refusal(), None);
        let runs = [&lost, &own, &lost].map(|run| health.record(run));
        assert_eq!(runs, [None; 3]);
        assert_eq!(health.record(&Err::<(), _>(RunError::OutOfMemory("full".into()))), Some(1));
        assert_eq!(health.record(&lost), None, "it is out already");
        assert!(health.refusal().expect("out").to_string().contains("full"));
        health.put_back();
        assert_eq!(health.refusal(), None);
        assert_eq!(health.record(&lost), None);
        assert!(!health.is_out_since(1));
    }

    #[test]
    fn one_run_that_does_not_end_takes_a_model_out_of_service() {
        let health = Health::default();
        let hung = Err::<(), _>(RunError::Hung { bound: Duration::from_secs(9), sessions: 1 });
        assert_eq!(health.record(&hung), Some(1));
        assert!(health.is_out_since(1) && !health.is_out_since(2));
        assert!(health.refusal().expect("out").to_string().contains("has not ended after 9s"));
    }

    #[test]
    fn a_slow_model_has_more_time_by_default() {
        struct Unobserved;
        impl HealthObserver for Unobserved {
            fn failed(&self) {}
            fn changed(&self, _is_in_service: bool) {}
            fn hung(&self, _runs: u64) {}
        }
        let health = Health::default();
        assert_eq!(health.hang_after(), None);
        let after = |hang, expected: Option<u64>| {
            health.configure(HealthRules { hang, ..HealthRules::default() }, Arc::new(Unobserved));
            assert_eq!(health.hang_after(), expected.map(Duration::from_secs), "{hang:?}");
        };
        let least = Duration::from_secs(60);
        after(HangRule::AtLeast(least), Some(60));
        health.record_time(Duration::from_secs(5));
        after(HangRule::AtLeast(least), Some(60));
        health.record_time(Duration::from_secs(30));
        health.record_time(Duration::from_secs(1));
        after(HangRule::AtLeast(least), Some(300));
        after(HangRule::After(least), Some(60));
        after(HangRule::Never, None);
        health.forget_first_runs(1);
        after(HangRule::AtLeast(least), Some(60));
        health.forget_first_runs(16);
        after(HangRule::AtLeast(least), Some(160));
        health.record_time(Duration::from_secs(20));
        after(HangRule::AtLeast(least), Some(200));
        health.record_late_time(Duration::from_secs(600));
        after(HangRule::AtLeast(least), Some(1_200));
    }
}
