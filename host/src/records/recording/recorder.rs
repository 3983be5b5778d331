//! Records inputs through a bounded queue. One thread writes to the disk, so requests never wait for the disk.

use std::convert::Infallible;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::facts::Facts;
use super::rules::RecordingRules;
use super::store::{Job, RecordingStore};
use crate::base::file_access::{PATIENCE, within_time};
use crate::records::background::{BackgroundTasks, RESTART_PAUSE, RunningTask};

/// Maximum number of recordings that wait for the disk.
const QUEUE: usize = 64;
/// Maximum bytes of bodies that wait for the disk. This limit is needed because the requests have ended, so
/// these bodies no longer count in the budget for bodies.
const QUEUE_BYTES: u64 = 64 << 20;

/// Records the inputs of one pipeline. It owns the thread that writes them.
pub struct InputRecorder {
    /// The folder and its limits.
    pub rules: RecordingRules,
    queue: Option<SyncSender<Job>>,
    waiting: Arc<AtomicU64>,
    dropped: AtomicU64,
    /// Closed when the writer thread has ended.
    ended: Option<Mutex<Receiver<Infallible>>>,
}

impl InputRecorder {
    /// Creates the folder if it is missing and starts the writer thread, which first removes the recordings that exceed
    /// the limits.
    ///
    /// # Errors
    /// The I/O error if the folder cannot be created or read, or does not answer, or if the thread cannot be started.
    pub fn open(rules: &RecordingRules, background: &BackgroundTasks) -> io::Result<Self> {
        let rules = rules.clone();
        let of_folder = rules.clone();
        let store = within_time(&rules.dir, move || {
            DirBuilder::new().recursive(true).mode(0o700).create(&of_folder.dir)?;
            RecordingStore::open(&of_folder)
        })?;
        let (queue, jobs) = sync_channel(QUEUE);
        let waiting = Arc::new(AtomicU64::new(0));
        let written = Arc::clone(&waiting);
        let task = background.register("recorder");
        let (running, ended) = sync_channel(0);
        std::thread::Builder::new().name("recorder".into()).spawn(move || {
            let _running = running;
            restart_after_panics(store, &task, RESTART_PAUSE, |store| store.write_all(&jobs, &written));
        })?;
        Ok(Self { rules, queue: Some(queue), waiting, dropped: AtomicU64::new(0), ended: Some(Mutex::new(ended)) })
    }

    /// Passes a recording to the writer thread. If too many recordings or bytes are waiting, the recording is dropped
    /// and counted; a warning is logged.
    pub fn record(&self, facts: Facts, body: &[u8], reply: Option<Bytes>) {
        // A copy, because the body may be a small part of a large buffer, all of which would stay.
        let body = Bytes::copy_from_slice(body);
        let job = Job { facts, body, reply };
        let bytes = job.bytes();
        let before = self.waiting.fetch_add(bytes, Relaxed);
        let fits = before == 0 || before + bytes <= QUEUE_BYTES;
        let sent = fits && self.queue.as_ref().is_some_and(|queue| queue.try_send(job).is_ok());
        if !sent {
            self.waiting.fetch_sub(bytes, Relaxed);
            let dropped = self.dropped.fetch_add(1, Relaxed) + 1;
            // Logs at 1, 2, 4, 8 … dropped recordings, so that many of them do not fill the log.
            if dropped.is_power_of_two() {
                tracing::warn!(
                    folder = %self.rules.dir.display(),
                    dropped,
                    "recording dropped: the disk is too slow for the rate of recordings"
                );
            }
        }
    }
}

/// Writes to the folder until `write` returns. After a panic it is started again, after a pause.
fn restart_after_panics(
    mut store: RecordingStore,
    task: &RunningTask,
    pause: Duration,
    mut write: impl FnMut(&mut RecordingStore),
) {
    while catch_unwind(AssertUnwindSafe(|| write(&mut store))).is_err() {
        task.record_panic();
        std::thread::sleep(pause);
        // The list of recordings may be wrong after a panic.
        match RecordingStore::open(&store.rules) {
            Ok(reopened) => store = reopened,
            Err(error) => tracing::warn!(folder = %store.rules.dir.display(), "cannot list recordings: {error}"),
        }
    }
}

impl Drop for InputRecorder {
    /// Waits until the recordings of the queue are written, as long as the file system answers.
    fn drop(&mut self) {
        drop(self.queue.take());
        let ended = self.ended.take().map(|ended| ended.into_inner().unwrap_or_else(PoisonError::into_inner));
        if ended.is_some_and(|ended| ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout)) {
            tracing::warn!(
                folder = %self.rules.dir.display(),
                "the latest recordings are not written yet; they are lost if the process ends before the disk answers"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn facts() -> Facts {
        Facts {
            time: String::new(),
            request: String::new(),
            pipeline: String::new(),
            chip: String::new(),
            caller: String::new(),
            content_type: None,
            parameters: Vec::new(),
            outcome: String::new(),
            kept_for: Vec::new(),
            stages: Vec::new(),
            reply: None,
        }
    }

    #[test]
    fn a_recorder_that_panics_is_restarted_and_goes_on_with_the_next_recording() {
        let dir = std::env::temp_dir().join(format!("plimsoll-recorder-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&dir).expect("made");
        let records = crate::records::Records::new("x-caller", 1, crate::records::metrics::Buckets::Fine);
        let task = records.background.register("recorder");
        let rules = RecordingRules { dir: dir.clone(), max_bytes: u64::MAX, max_age: Duration::MAX, one_line: false };
        let (queue, jobs) = sync_channel(QUEUE);
        for body in ["one", "two", "three"] {
            queue.send(Job { facts: facts(), body: Bytes::from(body), reply: None }).expect("open");
        }
        drop(queue);
        let (waiting, mut starts) = (AtomicU64::new(11), 0);
        restart_after_panics(RecordingStore::open(&rules).expect("a folder"), &task, Duration::ZERO, |store| {
            starts += 1;
            if starts < 3 {
                let _lost = jobs.recv();
                panic!("the recorder panics");
            }
            store.write_all(&jobs, &waiting);
        });
        let bodies = std::fs::read_dir(&dir).expect("a folder").map(|entry| entry.expect("an entry").path());
        let bodies = bodies.filter(|path| path.extension().is_some_and(|it| it == "body"));
        let bodies: Vec<_> = bodies.map(|path| std::fs::read_to_string(path).expect("text")).collect();
        std::fs::remove_dir_all(&dir).expect("removed");
        assert_eq!((starts, bodies), (3, vec!["three".to_owned()]));
        let metrics = records.metrics.encode(&crate::base::process::process_memory(), None);
        let counted = "plimsoll_background_task_panics_total{task=\"recorder\"} 2\n";
        assert!(metrics.contains(counted), "{metrics}");
        assert!(records.background.ended().is_empty(), "it is ready");
    }

    #[test]
    fn recordings_are_dropped_and_counted_if_the_queue_is_full() {
        // No thread reads the queue.
        let (queue, _jobs) = sync_channel(3);
        let rules =
            RecordingRules { dir: PathBuf::new(), max_bytes: u64::MAX, max_age: Duration::MAX, one_line: false };
        let (waiting, dropped) = (Arc::new(AtomicU64::new(0)), AtomicU64::new(0));
        let recorder = InputRecorder { rules, queue: Some(queue), waiting, dropped, ended: None };
        let facts = facts();
        let figures = || (recorder.waiting.load(Relaxed), recorder.dropped.load(Relaxed));
        let large = Bytes::from(vec![0; QUEUE_BYTES as usize - 1]);
        recorder.record(facts.clone(), &large, None);
        recorder.record(facts.clone(), &large, None);
        assert_eq!(figures(), (QUEUE_BYTES - 1, 1), "the bytes in the queue are limited");
        for _ in 0..4 {
            recorder.record(facts.clone(), &[], None);
        }
        assert_eq!(figures(), (QUEUE_BYTES - 1, 3), "the number of recordings in the queue is limited too");
    }
}
