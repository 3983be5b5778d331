//! Why the compiled cache, or an entry in it, cannot be used.

use std::io;
use std::path::PathBuf;

/// A folder that cannot be used as a cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The folder cannot be created or read.
    #[error("{}: {error}; set `cache_dir` to a folder that this process can create or read", folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// The error of the file system.
        error: io::Error,
    },
    /// The key cannot be read, or there is none and it cannot be created.
    #[error(
        "{}: {error}; its key must be readable by the user of this process (user id {user}): run this program once as \
         that user with a writable folder, or set `cache_dir` to another folder",
        path.display()
    )]
    Key {
        /// The key.
        path: PathBuf,
        /// The user of this process.
        user: u32,
        /// The error of the file system.
        error: io::Error,
    },
    /// The folder belongs to another user.
    #[error(
        "{} belongs to the user with the id {owner}, who could write code to it, but this process runs as {user}; run \
         `chown -R {user}` on it, or set `cache_dir` to another folder",
        folder.display()
    )]
    Foreign {
        /// The folder.
        folder: PathBuf,
        /// Its owner.
        owner: u32,
        /// The user of this process.
        user: u32,
    },
    /// Users other than the owner may write to the folder.
    #[error("{}: other users could write code to it; run `chmod 700` on it", .0.display())]
    NotPrivate(PathBuf),
}

/// Why an entry cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub(super) enum EntryError {
    #[error("it is truncated")]
    Truncated,
    #[error("it was not written by this cache")]
    Foreign,
    #[error("its metadata cannot be read: {0}")]
    Note(serde_json::Error),
    #[error("its code cannot be loaded: {0:#}")]
    Code(wasmtime::Error),
}
