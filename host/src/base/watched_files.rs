//! Files that are read again when they change.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::file_access::with_own_share;
use super::files::{ChangeTime, FileStat, look_at_file};

/// The metadata of a file; `None` if it cannot be read.
type Look = Option<(FileStat, ChangeTime)>;

/// Files, and their metadata when they were last read.
#[derive(Debug)]
pub struct WatchedFiles {
    paths: Vec<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The metadata when the files were last read with success.
    read: Vec<Look>,
    /// The metadata of the last change that could not be read, which is already reported.
    failed: Option<Vec<Look>>,
}

impl WatchedFiles {
    /// Reads the metadata of the files. Call this before the files are read, so that no change is missed.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        let state = Mutex::new(State { read: look(&paths), failed: None });
        Self { paths, state }
    }

    /// The files.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Reads the files with `read` if they have changed since they were last read with success. Returns `None` if there is
    /// nothing to do or to report. A change that cannot be read, for example because the process has no descriptors, is tried
    /// again by every call, and its error is returned once: otherwise a key that was revoked would stay valid.
    ///
    /// # Errors
    /// The error of `read`.
    pub fn read_if_changed<T, E>(&self, read: impl FnOnce(&[PathBuf]) -> Result<T, E>) -> Option<Result<T, E>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        with_own_share(|| self.read_changed(&mut state, read))
    }

    fn read_changed<T, E>(
        &self,
        state: &mut State,
        read: impl FnOnce(&[PathBuf]) -> Result<T, E>,
    ) -> Option<Result<T, E>> {
        let now = look(&self.paths);
        if state.read == now && state.failed.is_none() {
            return None;
        }
        match read(&self.paths) {
            Ok(value) => {
                *state = State { read: now, failed: None };
                Some(Ok(value))
            }
            Err(error) => {
                let is_reported = state.failed.as_ref() == Some(&now);
                state.failed = Some(now);
                (!is_reported).then_some(Err(error))
            }
        }
    }
}

fn look(paths: &[PathBuf]) -> Vec<Look> {
    paths.iter().map(|path| look_at_file(path).ok().flatten()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_cannot_be_read_is_tried_again_and_reported_once() {
        let path = std::env::temp_dir().join(format!("plimsoll-watched-{}", std::process::id()));
        std::fs::write(&path, "a").expect("written");
        let files = WatchedFiles::new(vec![path.clone()]);
        let read = |fails: bool| {
            files.read_if_changed(|paths| if fails { Err(()) } else { Ok(std::fs::read(&paths[0]).ok()) })
        };
        assert_eq!(read(true), None, "nothing has changed");
        std::fs::write(&path, "changed").expect("written");
        assert_eq!(read(true), Some(Err(())));
        assert_eq!(read(true), None, "it is reported once");
        assert_eq!(read(false), Some(Ok(Some(b"changed".to_vec()))), "and tried again");
        assert_eq!(read(false), None);
        std::fs::remove_file(&path).expect("removed");
    }
}
