//! The error of a report that is not written.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

/// Why a report is not written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The folder of the report cannot be created.
    #[error("{} cannot be created: {error}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// A file cannot be written.
    #[error("{} cannot be written: {error}", path.display())]
    NotWritten {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// The file of an earlier study cannot be removed.
    #[error("the old {name} cannot be removed: {error}")]
    NotRemoved {
        /// The file's name.
        name: &'static str,
        /// The error of the system.
        error: io::Error,
    },
    /// The content of a file cannot be made.
    #[error("{name}: {reason}")]
    Content {
        /// The file's name.
        name: &'static str,
        /// The message of the library that makes it.
        reason: String,
    },
}

impl ReportError {
    pub(super) fn not_written(path: &Path, error: io::Error) -> Self {
        Self::NotWritten { path: path.to_owned(), error }
    }

    pub(super) fn content(name: &'static str, reason: impl Display) -> Self {
        Self::Content { name, reason: reason.to_string() }
    }
}
