//! Threads for runs that may never end: the caller waits for the answer, and leaves the thread alone after a time.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

pub(super) type Job = Box<dyn FnOnce() + Send>;

/// A job for a thread, with the way to give it the next one.
struct Order {
    job: Job,
    thread: Sender<Order>,
}

/// The threads of a model that have nothing to do. They end with it.
#[derive(Default)]
pub(super) struct Workers {
    idle: Mutex<Vec<Sender<Order>>>,
}

impl Workers {
    /// Runs a job on a thread of its own. Returns the job if the machine cannot start a thread.
    pub(super) fn start(self: &Arc<Self>, job: Job) -> Option<Job> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(thread) = idle.or_else(|| self.thread().ok()) else { return Some(job) };
        let order = Order { job, thread: thread.clone() };
        thread.send(order).err().map(|unsent| unsent.0.job)
    }

    fn thread(self: &Arc<Self>) -> io::Result<Sender<Order>> {
        let (sender, orders) = mpsc::channel::<Order>();
        let workers: Weak<Self> = Arc::downgrade(self);
        std::thread::Builder::new().name("device".to_owned()).spawn(move || {
            // Ends when the model is gone, because then nothing holds the sender.
            while let Ok(Order { job, thread }) = orders.recv() {
                job();
                if let Some(workers) = workers.upgrade() {
                    workers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
                }
            }
        })?;
        Ok(sender)
    }
}

/// An answer that one thread gives and another one waits for.
pub(super) struct Handover<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

enum State<T> {
    Awaited,
    Given(T),
    /// Nothing waits for the answer any more.
    Abandoned,
}

impl<T> Default for Handover<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State::Awaited), changed: Condvar::new() }
    }
}

impl<T> Handover<T> {
    /// Gives the answer. Returns it if nothing waits for it any more.
    pub(super) fn give(&self, answer: T) -> Option<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Abandoned) {
            return Some(answer);
        }
        *state = State::Given(answer);
        self.changed.notify_one();
        None
    }

    /// Waits for the answer. After the given time, calls `abandon`, and only then the answer counts as abandoned.
    pub(super) fn wait(&self, within: Duration, abandon: impl FnOnce()) -> Option<T> {
        let since = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match std::mem::replace(&mut *state, State::Abandoned) {
                State::Given(answer) => return Some(answer),
                State::Abandoned => return None,
                State::Awaited => {}
            }
            let Some(left) = within.checked_sub(since.elapsed()).filter(|left| !left.is_zero()) else {
                abandon();
                return None;
            };
            *state = State::Awaited;
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_or_returned_but_never_lost() {
        let given = Handover::default();
        assert_eq!(given.give(1), None);
        assert_eq!(given.wait(Duration::ZERO, || panic!("it is given")), Some(1));
        let late = Handover::default();
        let mut is_abandoned = false;
        assert_eq!(late.wait(Duration::from_millis(1), || is_abandoned = true), None);
        assert!(is_abandoned);
        assert_eq!(late.give(2), Some(2));
    }

    #[test]
    fn a_thread_is_used_again_and_ends_with_its_model() {
        let workers = Arc::new(Workers::default());
        let (sender, threads) = mpsc::channel();
        let run = || {
            let sender = sender.clone();
            let job = move || sender.send(std::thread::current().id()).expect("received");
            assert!(workers.start(Box::new(job)).is_none(), "started");
            threads.recv().expect("a thread")
        };
        let first = run();
        while workers.idle.lock().expect("whole").is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(run(), first);
        drop(workers);
    }
}
