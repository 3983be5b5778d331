//! Metadata of files, used to detect changes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Size in bytes, modification time (seconds, nanoseconds) and inode number of a file. At least one of these values
/// differs after the file has changed.
pub type FileStat = (u64, i64, i64, u64);

/// Reads the [`FileStat`] of a file; `None` if there is no such file.
pub fn stat(path: &Path) -> Option<FileStat> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some((metadata.len(), metadata.mtime(), metadata.mtime_nsec(), metadata.ino()))
}
