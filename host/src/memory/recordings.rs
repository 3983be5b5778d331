//! The recorder: inputs that set a new high-water mark, or ended in a memory limit, a deadline or a trap, kept on disk
//! with the facts of their request, so that `plimsoll replay` can run them again.
//!
//! A recording is two files of one name, `ID.body` and `ID.json`; the latter comes last and by a rename, so where it is,
//! the recording is whole. Names are made here, for what a caller sends has no say in a path. Only the owner can read
//! them: they are callers' images. One thread writes; a request never waits for the disk.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use humantime_serde::re::humantime::format_rfc3339_millis;
use serde::{Deserialize, Serialize};

use crate::stage::Outcome;
use crate::trace::StageReport;

mod shelf;

use shelf::Shelf;
pub use shelf::{names, read};

/// Recordings that wait for the disk.
const QUEUE: usize = 64;
/// Bytes of bodies that wait for the disk; their requests no longer hold the budget for bodies.
const QUEUE_BYTES: u64 = 64 << 20;

/// Where recordings go, and how many there may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Their folder.
    pub dir: PathBuf,
    /// Bytes on disk; the oldest go first.
    pub max_bytes: u64,
    /// How long one is kept.
    pub max_age: Duration,
}

/// The facts of a recorded request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// RFC 3339, UTC.
    pub time: String,
    /// The request's id, which the caller may have chosen.
    pub request: String,
    /// The pipeline.
    pub pipeline: String,
    /// The chip.
    pub chip: String,
    /// As the report shows it.
    pub caller: String,
    /// The header `content-type`.
    pub content_type: Option<String>,
    /// The query parameters that reached the stages.
    pub parameters: Vec<(String, String)>,
    /// How the request ended.
    pub outcome: String,
    /// Why it was kept: `high_water STAGE`, or the outcome.
    pub kept_for: Vec<String>,
    /// What its stages needed.
    pub stages: Vec<StageFacts>,
}

/// One stage of a recorded request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageFacts {
    /// `preprocess`, `infer` or `postprocess`.
    pub stage: String,
    /// The plugin.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the plugin.
    pub digest: String,
    /// How the stage ended.
    pub outcome: String,
    /// Linear memory after instantiation, in bytes.
    pub initial: u64,
    /// High-water mark in bytes.
    pub high_water: u64,
}

impl From<&StageReport> for StageFacts {
    fn from(report: &StageReport) -> Self {
        Self {
            stage: report.stage.to_owned(),
            plugin: report.plugin.to_string(),
            version: report.version.to_string(),
            digest: report.digest.to_string(),
            outcome: report.outcome.as_str().to_owned(),
            initial: report.usage.initial,
            high_water: report.usage.high_water,
        }
    }
}

/// Whether an input that ended so is worth keeping whatever it needed.
pub fn keeps(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::MemoryLimit | Outcome::Deadline | Outcome::Trap)
}

/// The time as recordings and reports write it.
pub fn timestamp() -> String {
    format_rfc3339_millis(SystemTime::now()).to_string()
}

/// The recordings of one pipeline, and the thread that writes them for as long as this value lives.
pub struct Recordings {
    /// Its bounds.
    pub rules: Rules,
    queue: Option<SyncSender<(Facts, Bytes)>>,
    waiting: Arc<AtomicU64>,
    dropped: AtomicU64,
    writer: Option<JoinHandle<()>>,
}

impl Recordings {
    /// Makes the folder where it is missing, and lets go of what is in it beyond the bounds.
    ///
    /// # Errors
    /// The folder, and what the disk said.
    pub fn open(rules: &Rules) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&rules.dir)?;
        let mut shelf = Shelf::open(rules)?;
        let (queue, jobs) = sync_channel(QUEUE);
        let waiting = Arc::new(AtomicU64::new(0));
        let written = Arc::clone(&waiting);
        let writer = std::thread::Builder::new().name("recorder".into()).spawn(move || shelf.serve(&jobs, &written))?;
        Ok(Self { rules: rules.clone(), queue: Some(queue), waiting, dropped: AtomicU64::new(0), writer: Some(writer) })
    }

    /// Hands a recording to the writer. Where too much waits already it is dropped, and the log says so.
    pub fn keep(&self, facts: Facts, body: Bytes) {
        let bytes = body.len() as u64;
        let before = self.waiting.fetch_add(bytes, Relaxed);
        let fits = before == 0 || before + bytes <= QUEUE_BYTES;
        let sent = fits && self.queue.as_ref().is_some_and(|queue| queue.try_send((facts, body)).is_ok());
        if !sent {
            self.waiting.fetch_sub(bytes, Relaxed);
            let dropped = self.dropped.fetch_add(1, Relaxed) + 1;
            // The first, then ever more seldom: a flood must not fill the log, too.
            if dropped.is_power_of_two() {
                tracing::warn!(folder = %self.rules.dir.display(), dropped, "recordings come faster than the disk takes them");
            }
        }
    }
}

impl Drop for Recordings {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_disk_does_not_take_is_dropped_and_counted() {
        // A writer that never comes.
        let (queue, _jobs) = sync_channel(3);
        let rules = Rules { dir: PathBuf::new(), max_bytes: u64::MAX, max_age: Duration::MAX };
        let (waiting, dropped) = (Arc::new(AtomicU64::new(0)), AtomicU64::new(0));
        let recordings = Recordings { rules, queue: Some(queue), waiting, dropped, writer: None };
        let facts = Facts {
            time: timestamp(),
            request: String::new(),
            pipeline: String::new(),
            chip: String::new(),
            caller: String::new(),
            content_type: None,
            parameters: Vec::new(),
            outcome: String::new(),
            kept_for: Vec::new(),
            stages: Vec::new(),
        };
        let figures = || (recordings.waiting.load(Relaxed), recordings.dropped.load(Relaxed));
        let large = Bytes::from(vec![0; QUEUE_BYTES as usize - 1]);
        recordings.keep(facts.clone(), large.clone());
        recordings.keep(facts.clone(), large);
        assert_eq!(figures(), (QUEUE_BYTES - 1, 1), "the bytes are bounded");
        for _ in 0..4 {
            recordings.keep(facts.clone(), Bytes::new());
        }
        assert_eq!(figures(), (QUEUE_BYTES - 1, 3), "so is the number");
    }
}
