//! The background tasks and threads. If a task panics, the panic is counted and the task is restarted. If
//! a task has ended and cannot be restarted, the server reports that it is not ready.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use super::metrics::TaskPanics;

/// Pause before a task is restarted, so that one that always panics does not use a whole core or fill the log.
pub const RESTART_PAUSE: Duration = Duration::from_secs(2);

/// All background tasks and threads. Clones share the same state.
#[derive(Clone)]
pub struct BackgroundTasks {
    panics: TaskPanics,
    ended: Arc<Mutex<BTreeSet<&'static str>>>,
}

/// Held by a task or thread while it works. If a panic drops it, the task has ended and is not restarted.
pub struct RunningTask {
    tasks: BackgroundTasks,
    name: &'static str,
}

impl BackgroundTasks {
    pub(super) fn new(panics: TaskPanics) -> Self {
        Self { panics, ended: Arc::default() }
    }

    /// Registers a task that runs from now on.
    pub fn register(&self, name: &'static str) -> RunningTask {
        self.panics.register(name);
        RunningTask { tasks: self.clone(), name }
    }

    /// Takes over the panics of a task that counts them itself.
    pub fn set_panics(&self, name: &'static str, panics: u64) {
        self.panics.set(name, panics);
    }

    /// The names of the tasks that have ended because of a panic and were not restarted.
    pub fn ended(&self) -> Vec<&'static str> {
        self.lock().iter().copied().collect()
    }

    /// Runs a task to its end. After a panic it is started again, after a pause. Dropping the future ends the task.
    pub async fn supervise<F>(&self, name: &'static str, start: impl FnMut() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.supervise_with(RESTART_PAUSE, name, start).await;
    }

    async fn supervise_with<F>(&self, pause: Duration, name: &'static str, mut start: impl FnMut() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let supervised = self.register(name);
        // A set, because it aborts its task when it is dropped.
        let mut running = JoinSet::new();
        running.spawn(start());
        while running.join_next().await.is_some_and(|ended| ended.is_err_and(|error| error.is_panic())) {
            supervised.record_panic();
            tokio::time::sleep(pause).await;
            running.spawn(start());
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunningTask {
    /// Counts and logs a panic after which the task continues.
    pub fn record_panic(&self) {
        self.tasks.panics.inc(self.name);
        tracing::error!(task = self.name, "a background task panicked; it is restarted");
    }
}

impl Drop for RunningTask {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Whoever sees the panic counted sees also that the task has ended.
            self.tasks.lock().insert(self.name);
            self.tasks.panics.inc(self.name);
            tracing::error!(
                task = self.name,
                "a background task has ended and cannot be restarted: restart the server"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;
    use crate::records::metrics::{Buckets, Metrics};

    fn tasks() -> (Metrics, BackgroundTasks) {
        let metrics = Metrics::new(Buckets::Fine, false);
        let tasks = BackgroundTasks::new(metrics.task_panics());
        (metrics, tasks)
    }

    fn panics(metrics: &Metrics) -> String {
        let text = metrics.encode(&crate::base::process::process_memory(), None);
        let line = text.lines().find(|line| line.starts_with("plimsoll_background_task_panics_total{task=\"test\"}"));
        line.unwrap_or_else(|| panic!("no line in {text}")).rsplit(' ').next().expect("a value").to_owned()
    }

    #[tokio::test]
    async fn a_task_that_panics_is_restarted_and_counted() {
        let (metrics, tasks) = tasks();
        let starts = Arc::new(AtomicU32::new(0));
        tasks
            .supervise_with(Duration::ZERO, "test", || {
                let starts = Arc::clone(&starts);
                async move {
                    assert!(starts.fetch_add(1, Relaxed) >= 2, "the first two starts panic");
                }
            })
            .await;
        assert_eq!(starts.load(Relaxed), 3);
        assert_eq!(panics(&metrics), "2");
        assert!(tasks.ended().is_empty());
    }

    #[test]
    fn a_thread_that_a_panic_ends_is_reported() {
        let (metrics, tasks) = tasks();
        let orderly = tasks.register("test");
        drop(orderly);
        assert_eq!((panics(&metrics).as_str(), tasks.ended().len()), ("0", 0));
        let running = tasks.register("test");
        let thread = std::thread::spawn(move || {
            let _running = running;
            panic!("boom");
        });
        assert!(thread.join().is_err());
        assert_eq!((panics(&metrics).as_str(), tasks.ended()), ("1", vec!["test"]));
    }
}
