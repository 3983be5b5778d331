//! Writes the journal beside the changes, so that no change waits for the disk with which another one is being stored.
//!
//! A change hands in the state that it made. States are written in their order. A state that is handed in while an earlier
//! one is being written replaces others that wait, because it contains their changes too. Whoever made the change waits for
//! its [`Ticket`] without the lock of deployments.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use tokio::sync::watch;

use super::journal::Journal;
use super::journal_state::JournalState;
use crate::records::Records;

/// How long a change waits until the disk has confirmed its state. After that its reply says that it is not durable.
const CONFIRMATION: Duration = Duration::from_secs(5);

/// Writes the states of a journal, one after another.
pub(super) struct JournalWriter {
    shared: Arc<Shared>,
}

struct Shared {
    journal: Arc<Journal>,
    records: Arc<Records>,
    queue: Mutex<Queue>,
    /// Notified when no state is being written any more.
    idle: Condvar,
    progress: watch::Sender<Progress>,
}

/// The states that are not written yet.
#[derive(Default)]
struct Queue {
    /// The number of the latest state.
    latest: u64,
    waiting: Option<Submission>,
    is_writing: bool,
}

struct Submission {
    number: u64,
    state: JournalState,
    /// True if there is a copy of every component that the state needs.
    is_complete: bool,
}

/// The states that were written.
#[derive(Debug, Clone, Default)]
struct Progress {
    /// The latest state for which this was tried.
    tried: u64,
    /// The latest state that is on disk.
    durable: u64,
    /// Why the latest state is not on disk.
    problem: Option<String>,
}

/// A state that was handed in.
pub struct Ticket {
    number: u64,
    progress: watch::Receiver<Progress>,
    shared: Arc<Shared>,
}

impl JournalWriter {
    pub(super) fn new(journal: Arc<Journal>, records: Arc<Records>) -> Self {
        let shared = Shared {
            journal,
            records,
            queue: Mutex::default(),
            idle: Condvar::new(),
            progress: watch::Sender::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Hands in the state after a change. Call it with the lock of deployments, so that the states have the order of the
    /// changes. `is_complete` is true if there is a copy of every component that the state needs.
    pub(super) fn submit(&self, state: JournalState, is_complete: bool) -> Ticket {
        self.shared.journal.announce(&state);
        self.enqueue(state, is_complete)
    }

    /// Hands in the state `ahead` before the change from `now` to it, which may still fail. So the copies of both stay.
    pub(super) fn submit_ahead(&self, now: &JournalState, ahead: JournalState) -> Ticket {
        self.shared.journal.announce_ahead(now, &ahead);
        self.enqueue(ahead, true)
    }

    fn enqueue(&self, state: JournalState, is_complete: bool) -> Ticket {
        let shared = &self.shared;
        let mut queue = shared.queue();
        queue.latest += 1;
        queue.waiting = Some(Submission { number: queue.latest, state, is_complete });
        let number = queue.latest;
        if !std::mem::replace(&mut queue.is_writing, true) {
            drop(queue);
            let for_thread = Arc::clone(shared);
            // A thread of its own, because tokio runs nothing new once it shuts down, and the last change must be written too.
            let writer = std::thread::Builder::new().name("journal".into());
            if writer.spawn(move || Writing::new(&for_thread).write_all()).is_err() {
                Writing::new(shared).write_all();
            }
        }
        self.ticket(number)
    }

    /// Returns true if nothing writes the latest state, although it is not on disk.
    pub(super) fn is_behind(&self) -> bool {
        let queue = self.shared.queue();
        !queue.is_writing && self.shared.progress.borrow().durable < queue.latest
    }

    /// The latest state that was handed in.
    pub(super) fn latest(&self) -> Ticket {
        let latest = self.shared.queue().latest;
        self.ticket(latest)
    }

    fn ticket(&self, number: u64) -> Ticket {
        Ticket { number, progress: self.shared.progress.subscribe(), shared: Arc::clone(&self.shared) }
    }
}

impl Drop for JournalWriter {
    /// The states that were handed in are written before the data folder is free for another process. Then the journal is
    /// written anew, without changes, which earlier versions of this program do not read. A disk that does not answer keeps
    /// the process from ending for a bounded time only.
    fn drop(&mut self) {
        let queue = self.shared.queue();
        let waited = self.shared.idle.wait_timeout_while(queue, CONFIRMATION, |queue| queue.is_writing);
        let is_over = waited.is_ok_and(|(queue, waited)| {
            drop(queue);
            !waited.timed_out()
        });
        if is_over {
            let (end, has_ended) = mpsc::channel::<()>();
            let shared = Arc::clone(&self.shared);
            let writer = std::thread::Builder::new().name("journal".into());
            // Without a thread the changes stay in the file.
            let _ = writer.spawn(move || {
                shared.journal.write_without_changes();
                // The data folder is free before the end is told.
                drop(shared);
                drop(end);
            });
            let _ = has_ended.recv_timeout(CONFIRMATION);
        }
    }
}

impl Ticket {
    /// Waits until the state is on disk, or cannot be written, for a bounded time.
    ///
    /// # Errors
    /// The reason why it is not on disk.
    pub async fn confirmed(self) -> Result<(), String> {
        self.confirmed_within(CONFIRMATION).await
    }

    async fn confirmed_within(mut self, time: Duration) -> Result<(), String> {
        let wait = self.progress.wait_for(|progress| progress.tried >= self.number);
        match tokio::time::timeout(time, wait).await {
            Ok(Ok(progress)) if progress.durable >= self.number => Ok(()),
            Ok(Ok(progress)) => Err(progress.problem.clone().unwrap_or_default()),
            Ok(Err(_)) | Err(_) => {
                let Shared { journal, records, progress, .. } = &*self.shared;
                records.metrics.record_journal(false);
                if progress.borrow().durable >= self.number {
                    // It was confirmed just now.
                    records.metrics.record_journal(true);
                    return Ok(());
                }
                let folder = journal.folder().display();
                Err(format!(
                    "the data folder {folder} has not confirmed it within {} s; the server continues to wait for it",
                    time.as_secs()
                ))
            }
        }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// States are being written, by this thread alone.
struct Writing<'a> {
    shared: &'a Shared,
    /// True once another thread may write.
    has_ended: bool,
}

impl<'a> Writing<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self { shared, has_ended: false }
    }

    fn write_all(mut self) {
        while let Some(submission) = self.next() {
            self.write(&submission);
        }
    }

    /// The state that waits. If there is none, another thread writes the next one.
    fn next(&mut self) -> Option<Submission> {
        let mut queue = self.shared.queue();
        let next = queue.waiting.take();
        self.has_ended = next.is_none();
        queue.is_writing = next.is_some();
        next
    }

    fn write(&self, submission: &Submission) {
        let Submission { number, state, is_complete } = submission;
        let written = self.shared.journal.write(state);
        self.shared.records.metrics.record_journal(written.is_ok() && *is_complete);
        self.shared.progress.send_modify(|progress| {
            progress.tried = *number;
            progress.problem = written.as_ref().err().map(ToString::to_string);
            if written.is_ok() {
                progress.durable = *number;
            }
        });
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            // After a panic, the next state is written by another thread.
            self.shared.queue().is_writing = false;
        }
        self.shared.idle.notify_all();
    }
}

#[cfg(test)]
mod tests;
