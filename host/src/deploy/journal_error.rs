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
    /// The copy of a component has another digest.
    #[error("{} was changed: it has a different digest", .0.display())]
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
