//! The open journal file, to which changes are appended.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::durable_file::{create_durably, sync_folder};
use super::journal_log::change_line;
use super::journal_state::JournalState;
use crate::base::files::FolderId;

/// The most bytes of a journal that are read.
pub(super) const MAX_JOURNAL: u64 = 64 << 20;
/// The changes may have as many bytes as the state before them, and at least these, before the file is written anew.
const MIN_CHANGES: u64 = 256 << 10;

/// A journal file that this process wrote.
#[derive(Debug)]
pub(super) struct JournalFile {
    file: File,
    /// Device and inode, which tell whether it is still at its path.
    id: FolderId,
    length: u64,
    /// The length from which on the file is written anew.
    bound: u64,
    /// The digest of the last line.
    digest: String,
    /// The state after the last line.
    state: JournalState,
    /// True if there are changes after the first line.
    has_changes: bool,
    /// False after an error that leaves open what is on disk.
    is_usable: bool,
}

impl JournalFile {
    /// Replaces the file at a path by one with a state. After a crash it is complete or the one before.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn create(path: &Path, state: &JournalState) -> io::Result<Self> {
        let (text, digest) = state.to_text_with_digest().map_err(io::Error::other)?;
        let length = text.len() as u64;
        if length > MAX_JOURNAL {
            return Err(io::Error::other(format!(
                "the journal would have {length} bytes, and at most {MAX_JOURNAL} are read at a start; retire plugins, or \
                 lower `deploy.keep`"
            )));
        }
        let file = create_durably(path, &text)?;
        sync_folder(path)?;
        let id = id_of(&file.metadata()?);
        let bound = (length + length.max(MIN_CHANGES)).min(MAX_JOURNAL);
        Ok(Self { file, id, length, bound, digest, state: state.clone(), has_changes: false, is_usable: true })
    }

    /// Appends the change to a state, if there is one, and waits until it is on disk. Returns false if the file must be
    /// written anew first: it is not the one at the path any more, was changed, or is not usable after an error.
    ///
    /// # Errors
    /// If the change cannot be written.
    pub(super) fn append(&mut self, path: &Path, state: &JournalState) -> io::Result<bool> {
        if !self.is_usable || !self.is_at(path) {
            return Ok(false);
        }
        let line = change_line(&self.state, state, &self.digest).map_err(io::Error::other)?;
        let Some((line, digest)) = line else { return Ok(true) };
        if self.length + line.len() as u64 > MAX_JOURNAL {
            return Ok(false);
        }
        if let Err(error) = self.file.write_all_at(&line, self.length) {
            // A part of the line may be written; the next one must not follow it.
            self.is_usable = self.file.set_len(self.length).and_then(|()| self.file.sync_data()).is_ok();
            return Err(error);
        }
        if let Err(error) = self.file.sync_data() {
            // What is on disk now is not known, and a later call may succeed without having written it.
            self.is_usable = false;
            let _ = self.file.set_len(self.length);
            return Err(error);
        }
        self.length += line.len() as u64;
        self.has_changes = true;
        self.digest = digest;
        self.state.clone_from(state);
        // Another file may have taken its place meanwhile.
        Ok(self.is_at(path))
    }

    /// Returns true if this file is at the path, and has no more and no less than what was written to it.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|it| id_of(&it) == self.id && it.len() == self.length)
    }

    /// Returns true if the file has changes after its state.
    pub(super) fn has_changes(&self) -> bool {
        self.has_changes && self.is_usable
    }

    /// The state after the last change.
    pub(super) fn state(&self) -> &JournalState {
        &self.state
    }

    /// Returns true if the changes have so many bytes that the file should be written anew.
    pub(super) fn is_long(&self) -> bool {
        self.length > self.bound
    }

    /// Lets it grow further, because it cannot be written anew now.
    pub(super) fn postpone(&mut self) {
        self.bound = (self.length + MIN_CHANGES).min(MAX_JOURNAL);
    }
}

fn id_of(file: &fs::Metadata) -> FolderId {
    (file.dev(), file.ino())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::deploy::journal_log::JournalLog;
    use crate::deploy::journal_state::PluginRecord;

    fn folder() -> PathBuf {
        let folder = std::env::temp_dir().join(format!("plimsoll-journal-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&folder).expect("made");
        folder
    }

    fn state(count: usize, text: &str) -> JournalState {
        let record = PluginRecord { withdrawn: vec![text.to_owned()], ..PluginRecord::default() };
        let plugins = (0..count).map(|at| (format!("p{at}"), record.clone())).collect();
        JournalState { plugins, ..JournalState::default() }
    }

    fn read(path: &Path) -> JournalState {
        let log = JournalLog::parse(&fs::read(path).expect("readable")).expect("a journal");
        assert_eq!(log.dropped, 0);
        log.state
    }

    #[test]
    fn a_change_is_appended_and_the_rest_is_not_written_again() {
        let folder = folder();
        let path = folder.join("plugins.json");
        let mut file = JournalFile::create(&path, &state(500, "a")).expect("written");
        let before = fs::metadata(&path).expect("there");
        for count in 501..600 {
            assert!(file.append(&path, &state(count, "a")).expect("written"));
            assert_eq!(read(&path), state(count, "a"));
        }
        let after = fs::metadata(&path).expect("there");
        assert_eq!(after.ino(), before.ino());
        assert!(after.len() - before.len() < 99 * 400, "{} bytes were appended", after.len() - before.len());
        assert!(file.append(&path, &state(599, "a")).expect("nothing to write"));
        assert_eq!(fs::metadata(&path).expect("there").len(), after.len());
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_long_file_asks_to_be_written_anew() {
        let folder = folder();
        let path = folder.join("plugins.json");
        let mut file = JournalFile::create(&path, &state(1, "a")).expect("written");
        let mut times = 0;
        while !file.is_long() {
            times += 1;
            assert!(file.append(&path, &state(100, &times.to_string())).expect("written"));
        }
        assert_eq!(read(&path), state(100, &times.to_string()));
        let long = fs::metadata(&path).expect("there").len();
        assert!(long > MIN_CHANGES && long < 2 * MIN_CHANGES, "{long}");
        file.postpone();
        assert!(!file.is_long());
        let file = JournalFile::create(&path, &state(100, "b")).expect("written");
        assert!(!file.is_long() && fs::metadata(&path).expect("there").len() < MIN_CHANGES);
        assert_eq!(read(&path), state(100, "b"));
        fs::remove_dir_all(folder).expect("removed");
    }

    /// A file that someone restored, removed or changed while the server runs.
    #[test]
    fn nothing_is_appended_to_another_file() {
        let folder = folder();
        let path = folder.join("plugins.json");
        let mut file = JournalFile::create(&path, &state(1, "a")).expect("written");
        fs::copy(&path, folder.join("backup")).expect("copied");
        fs::rename(folder.join("backup"), &path).expect("renamed");
        assert!(!file.append(&path, &state(2, "a")).expect("no error"), "another inode");
        assert_eq!(read(&path), state(1, "a"));
        let mut file = JournalFile::create(&path, &state(1, "a")).expect("written");
        fs::write(&path, fs::read(&path).expect("readable").repeat(2)).expect("written");
        assert!(!file.append(&path, &state(2, "a")).expect("no error"), "another length");
        fs::remove_file(&path).expect("removed");
        assert!(!file.append(&path, &state(2, "a")).expect("no error"), "no file");
        assert!(!path.exists());
        fs::remove_dir_all(folder).expect("removed");
    }
}
