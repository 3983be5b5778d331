//! The folder of recordings. Only one thread writes to it.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use plimsoll_runtime::panics::fault_point;

use super::facts::Facts;
use super::room::Room;
use super::rules::RecordingRules;
use crate::base::file_access::within_time;
use crate::base::files::read_unlinked;

/// How often recordings that are too old are removed while no input is recorded.
const TICK: Duration = Duration::from_secs(60);

/// The most bytes of the facts of a recording.
const MAX_FACTS: u64 = 16 << 20;

/// The folder as the writer thread sees it.
pub(super) struct RecordingStore {
    pub(super) rules: RecordingRules,
    /// The recordings, oldest first: name, bytes, and the time at which it was written.
    kept: VecDeque<(String, u64, SystemTime)>,
    /// Total bytes of `kept`.
    bytes: u64,
}

/// An input that is to be written.
pub(super) struct Job {
    pub(super) facts: Facts,
    pub(super) body: Bytes,
    /// The reply, for a capture.
    pub(super) reply: Option<Bytes>,
    /// Its room in the queue, until it is written, also if that panics.
    pub(super) room: Room,
}

impl RecordingStore {
    /// Lists the recordings in the folder and removes incomplete ones.
    pub(super) fn open(rules: &RecordingRules) -> io::Result<Self> {
        let mut kept = Vec::new();
        for name in names(&rules.dir)? {
            let sizes = [body(&rules.dir, &name), facts(&rules.dir, &name)].map(fs::metadata);
            if let [Ok(body), Ok(facts)] = sizes {
                let reply = fs::metadata(reply(&rules.dir, &name)).map_or(0, |reply| reply.len());
                kept.push((name, body.len() + reply + facts.len(), facts.modified()?));
            }
        }
        kept.sort();
        let bytes = kept.iter().map(|(_, bytes, _)| bytes).sum();
        let this = Self { rules: rules.clone(), kept: kept.into(), bytes };
        this.remove_incomplete()?;
        Ok(this)
    }

    /// Removes the files of recordings that were not complete when an earlier process ended. Those of this process may be
    /// complete soon: after a reload with other limits, two recorders write to the folder until the requests before it end.
    fn remove_incomplete(&self) -> io::Result<()> {
        static FIRST: LazyLock<SystemTime> = LazyLock::new(SystemTime::now);
        let first = *FIRST;
        for entry in fs::read_dir(&self.rules.dir)? {
            let path = entry?.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let is_ours = uuid::Uuid::try_parse(stem).is_ok();
            let is_part = matches!(extension, Some("body" | "reply")) && !facts(&self.rules.dir, stem).exists();
            let is_incomplete = extension == Some("draft") || is_part;
            let is_older = || fs::metadata(&path).and_then(|it| it.modified()).is_ok_and(|modified| modified < first);
            if is_ours && is_incomplete && is_older() {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Writes the recordings from `jobs` until the recorder is dropped.
    pub(super) fn write_all(&mut self, jobs: &Receiver<Job>) {
        loop {
            self.prune(0);
            match jobs.recv_timeout(TICK) {
                Ok(job) => {
                    fault_point("recording");
                    if let Err(error) = self.put(&job) {
                        tracing::warn!(
                            folder = %self.rules.dir.display(),
                            request = job.facts.request,
                            "cannot record the input: {error}"
                        );
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn put(&mut self, job: &Job) -> io::Result<()> {
        let text = match self.rules.one_line {
            true => [serde_json::to_vec(&job.facts)?, b"\n".to_vec()].concat(),
            false => serde_json::to_vec_pretty(&job.facts)?,
        };
        let size = text.len() as u64 + job.room.bytes();
        if size > self.rules.max_bytes {
            let why = format!("its {size} bytes exceed `max_bytes` ({})", self.rules.max_bytes);
            return Err(io::Error::other(why));
        }
        // Removes old recordings before writing, so that the limit holds at every moment.
        self.prune(size);
        let dir = &self.rules.dir;
        // A UUID of version 7 sorts by time, and it cannot be guessed.
        let name = uuid::Uuid::now_v7().to_string();
        let draft = dir.join(format!("{name}.draft"));
        let done = write(&body(dir, &name), &job.body)
            .and_then(|()| job.reply.as_ref().map_or(Ok(()), |bytes| write(&reply(dir, &name), bytes)))
            .and_then(|()| write(&draft, &text))
            .and_then(|()| fs::rename(&draft, facts(dir, &name)));
        if let Err(error) = done {
            let _ = fs::remove_file(body(dir, &name));
            let _ = fs::remove_file(reply(dir, &name));
            let _ = fs::remove_file(draft);
            return Err(error);
        }
        self.kept.push_back((name, size, SystemTime::now()));
        self.bytes += size;
        Ok(())
    }

    /// Removes recordings that are too old, then the oldest ones until `new_bytes` more fit.
    fn prune(&mut self, new_bytes: u64) {
        let now = SystemTime::now();
        while let Some((name, bytes, at)) = self.kept.front_mut() {
            // If the clock was set back, it counts from now, so that it does not keep those behind it.
            *at = now.min(*at);
            let is_old = now.duration_since(*at).is_ok_and(|age| age > self.rules.max_age);
            if !is_old && self.bytes + new_bytes <= self.rules.max_bytes {
                break;
            }
            // The facts are removed first, because a body without facts does not count as a recording.
            let dir = &self.rules.dir;
            for path in [facts(dir, name), body(dir, name), reply(dir, name)] {
                if let Err(error) = fs::remove_file(&path)
                    && error.kind() != io::ErrorKind::NotFound
                {
                    tracing::warn!("{} cannot be removed: {error}", path.display());
                }
            }
            self.bytes -= *bytes;
            self.kept.pop_front();
        }
    }
}

/// A recording that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// A file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the file system.
        error: io::Error,
    },
    /// The facts are not those of a recording.
    #[error("{} is not a valid Plimsoll recording: {error}; remove it, or record again", path.display())]
    Invalid {
        /// The file of the facts.
        path: PathBuf,
        /// What is wrong with it.
        error: serde_json::Error,
    },
}

/// The names of the complete recordings in a folder, oldest first.
///
/// # Errors
/// The I/O error if the folder cannot be read.
pub fn names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let is_facts = path.extension().is_some_and(|extension| extension == "json");
        let name = path.file_stem().and_then(|stem| stem.to_str()).filter(|_| is_facts);
        names.extend(name.filter(|name| body(dir, name).is_file()).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// Reads the facts and the body of a recording.
///
/// # Errors
/// If a file cannot be read, or the facts are not valid.
pub fn read(dir: &Path, name: &str) -> Result<(Facts, Vec<u8>), RecordingError> {
    let bytes =
        |path: &Path| fs::read(path).map_err(|error| RecordingError::Unreadable { path: path.to_owned(), error });
    let path = facts(dir, name);
    let facts = serde_json::from_slice(&bytes(&path)?).map_err(|error| RecordingError::Invalid { path, error })?;
    Ok((facts, bytes(&body(dir, name))?))
}

/// Reads the reply of a capture; `None` if it has none.
///
/// # Errors
/// If it cannot be read.
pub fn read_reply(dir: &Path, name: &str) -> Result<Option<Vec<u8>>, RecordingError> {
    let path = reply(dir, name);
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(RecordingError::Unreadable { path, error }),
    }
}

/// The newest recordings in a folder: name, facts, and the size of the body. Those that cannot be read are left out, for
/// example because they are removed meanwhile.
///
/// # Errors
/// The I/O error if the folder cannot be listed in time.
pub fn newest(dir: &Path, limit: usize) -> io::Result<Vec<(String, Facts, u64)>> {
    let listed = dir.to_owned();
    within_time(dir, move || {
        let names = names(&listed)?;
        let found = names.into_iter().rev().filter_map(|name| {
            let facts = serde_json::from_slice(&read_unlinked(&facts(&listed, &name), MAX_FACTS).ok()?).ok()?;
            let size = fs::metadata(body(&listed, &name)).ok()?.len();
            Some((name, facts, size))
        });
        Ok(found.take(limit).collect())
    })
}

/// Reads the body of a complete recording. `None` if there is no such recording. `name` must be one that the host may have
/// made.
///
/// # Errors
/// The I/O error if the body cannot be read in time.
pub fn read_body(dir: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let read = read_unlinked(&facts(dir, name), MAX_FACTS).and_then(|_| read_unlinked(&body(dir, name), u64::MAX));
    read.map(Some).or_else(|error| if is_missing(&error) { Ok(None) } else { Err(error) })
}

fn body(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.body"))
}

fn reply(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.reply"))
}

fn facts(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.json"))
}

/// Writes a new file. It is created with mode 0600, so that only the owner can ever read it.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_keeps_no_recording_beyond_its_age() {
        let hour = Duration::from_secs(3_600);
        let rules = RecordingRules { dir: PathBuf::new(), max_bytes: 100, max_age: hour, one_line: false };
        let now = SystemTime::now();
        let kept = VecDeque::from([("later".to_owned(), 1, now + 24 * hour), ("now".to_owned(), 1, now)]);
        let mut store = RecordingStore { rules, kept, bytes: 2 };
        store.prune(0);
        assert_eq!(store.kept.len(), 2);
        assert!(store.kept[0].2 < now + hour, "its age counts from the look at it");
        store.rules.max_age = Duration::ZERO;
        std::thread::sleep(Duration::from_millis(1));
        store.prune(0);
        assert_eq!((store.kept.len(), store.bytes), (0, 0));
    }
}
