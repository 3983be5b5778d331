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
        "{} is not a journal that can be used: {error}; restore it from a backup, or remove it and the folder `components` \
         beside it to start from the plugin folder",
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
    /// There are copies, and no journal names them.
    #[error(
        "{} is missing, but {} has the copies of {copies} components (was it lost, or left out of a backup?); restore it from \
         a backup, or remove {1} to start from the plugin folder",
        journal.display(),
        components.display()
    )]
    NoJournal {
        /// The folder of copies.
        components: PathBuf,
        /// The journal.
        journal: PathBuf,
        /// How many copies there are.
        copies: usize,
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
    /// The manifest of a version is not valid for this version of the program.
    #[error(
        "the manifest of version {version} of plugin `{plugin}` cannot be read from the journal: {error}; start the version of \
         plimsoll that deployed it, and deploy the plugin there with a manifest that both versions read"
    )]
    Manifest {
        /// The plugin.
        plugin: String,
        /// Its version.
        version: String,
        /// What is wrong with the manifest.
        error: ManifestError,
    },
}

impl JournalError {
    /// Returns true if the copy of a component is certainly lost: it is missing or damaged. After any other error the version
    /// may still be complete, and only cannot be used now.
    pub fn is_lost_copy(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::Changed(_))
    }
}
