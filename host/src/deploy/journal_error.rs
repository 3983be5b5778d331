//! Why a state or a component cannot be read from the data folder, or written to it.

use std::io;
use std::path::PathBuf;

use plimsoll_runtime::component::ArtifactError;
use plimsoll_runtime::identity::InvalidVersion;

use super::journal_state::InvalidState;
use super::manifest::ManifestError;

/// Why a state or a component cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process uses the folder.
    #[error("the data folder {} is in use by another process; set `data_dir` to a different folder", .0.display())]
    InUse(PathBuf),
    /// A file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the file system.
        error: io::Error,
    },
    /// The file is not a journal.
    #[error(
        "{} is not a journal that can be used: {error}; restore it from a backup, or remove it to start from the plugin \
         folder",
        path.display()
    )]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: InvalidState,
    },
    /// The state cannot be written.
    #[error("cannot write to the data folder {}: {error}", folder.display())]
    StateNotWritten {
        /// The data folder.
        folder: PathBuf,
        /// The error of the file system.
        error: io::Error,
    },
    /// The copy of a component cannot be written.
    #[error("cannot write a copy of the component to the data folder {}: {error}", folder.display())]
    CopyNotWritten {
        /// The data folder.
        folder: PathBuf,
        /// The error of the file system.
        error: io::Error,
    },
    /// The copy of a component is there, or may be there, and cannot be read.
    #[error(
        "{} cannot be read: {error}; it is the copy of a component that the journal names. Let the user of this process \
         read it, or restore it from a backup. If it is removed, that version is given up",
        path.display()
    )]
    UnreadableCopy {
        /// The file.
        path: PathBuf,
        /// The error of the file system.
        error: io::Error,
    },
    /// There is no copy of a component.
    #[error("{} is missing", .0.display())]
    Missing(PathBuf),
    /// The folder of copies is empty.
    #[error(
        "{} is empty, but the journal names components in it (was a file system unmounted?); mount it, restore it from a \
         backup, or remove {} to start from the plugin folder",
        components.display(),
        journal.display()
    )]
    NoCopies {
        /// The folder of copies.
        components: PathBuf,
        /// The journal.
        journal: PathBuf,
    },
    /// The copy of a component has another digest.
    #[error("{} was changed or damaged: it has a different digest", .0.display())]
    Changed(PathBuf),
    /// The bytes of a component that is to be copied cannot be read.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The copy of a component has no valid version.
    #[error(transparent)]
    Version(#[from] InvalidVersion),
    /// The manifest of a version is not valid any more.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl JournalError {
    /// Returns true if the copy of a component may still be complete: it only cannot be read now.
    pub fn is_unreadable_copy(&self) -> bool {
        matches!(self, Self::UnreadableCopy { .. })
    }
}
