//! The copy of a component that is written before the change that keeps it, so that the change, which holds the lock of
//! deployments, does not wait for the disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::durable_file::{DRAFT, write_all_to_disk};

/// Makes the names of copies unique: a component may be deployed by several changes at once.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A copy that is on disk, but not yet where a restart finds it. It is removed if it is not used.
#[derive(Debug)]
pub(super) struct StagedCopy {
    digest: String,
    path: PathBuf,
}

impl StagedCopy {
    /// Writes a copy to a folder. What a killed process leaves there is removed by
    /// [`Journal::remove_leftovers`](super::journal::Journal::remove_leftovers).
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn write(folder: &Path, digest: &str, bytes: &[u8]) -> io::Result<Self> {
        let this = Self {
            digest: digest.to_owned(),
            path: folder.join(format!("{digest}-{}.{DRAFT}", NUMBER.fetch_add(1, Relaxed))),
        };
        write_all_to_disk(&this.path, bytes)?;
        Ok(this)
    }

    /// The digest of the component.
    pub(super) fn digest(&self) -> &str {
        &self.digest
    }

    /// Moves the copy to its place. The new name is on disk after the next
    /// [`Journal::write`](super::journal::Journal::write), so that no change waits for that.
    ///
    /// # Errors
    /// If it cannot be moved.
    pub(super) fn move_to(self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)
    }
}

impl Drop for StagedCopy {
    fn drop(&mut self) {
        // A copy that was moved is not there any more.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes the copies in a folder that a killed process left.
pub(super) fn remove_staged(folder: &Path) {
    for file in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = file.file_name();
        let parts = name.to_str().and_then(|name| name.strip_suffix(DRAFT)?.strip_suffix('.')?.split_once('-'));
        let is_ours = parts.is_some_and(|(digest, number)| {
            let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_digest && number.parse::<u64>().is_ok()
        });
        if is_ours && let Err(error) = fs::remove_file(file.path()) {
            tracing::warn!("cannot remove {}: {error}", file.path().display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use plimsoll_runtime::component::Artifact;

    use super::*;
    use crate::deploy::journal::Journal;

    #[test]
    fn a_copy_is_moved_and_not_written_again() {
        let folder = std::env::temp_dir().join(format!("plimsoll-staged-{}", uuid::Uuid::new_v4()));
        let journal = Journal::open(&folder).expect("opened");
        let artifact = Artifact::new("p", Some("1"), vec![7; 9_000].into()).expect("valid");
        let staged = journal.stage(&artifact).expect("written");
        let written = fs::metadata(&staged.path).expect("there");
        let path = folder.join(format!("components/{}.wasm", artifact.identity.digest));
        assert!(!path.exists(), "a restart would not remember the component yet");
        let draft = staged.path.clone();
        let kept = journal.keep_staged(artifact.clone(), Some(staged)).expect("kept");
        assert_eq!(fs::metadata(&path).expect("there").ino(), written.ino());
        assert!(!draft.exists() && kept.is_stored());
        assert_eq!(kept.bytes().expect("readable"), vec![7; 9_000]);
        assert!(journal.stage(&artifact).is_none(), "it is there");
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_copy_that_no_change_used_is_removed_and_a_lost_one_is_written_again() {
        let folder = std::env::temp_dir().join(format!("plimsoll-staged-{}", uuid::Uuid::new_v4()));
        let journal = Journal::open(&folder).expect("opened");
        let artifact = Artifact::new("p", Some("1"), vec![7; 9_000].into()).expect("valid");
        let [first, second] = [(); 2].map(|()| journal.stage(&artifact).expect("written"));
        assert_ne!(first.path, second.path, "two changes may deploy the same component");
        let path = first.path.clone();
        drop(first);
        assert!(!path.exists());
        fs::remove_file(&second.path).expect("removed");
        let kept = journal.keep_staged(artifact, Some(second)).expect("kept");
        assert_eq!(kept.bytes().expect("readable"), vec![7; 9_000]);
        fs::remove_dir_all(folder).expect("removed");
    }
}
