//! Metadata of files and folders, used to detect changes.
//!
//! To look at a file means to read its metadata. A file that does not exist and a file that cannot be looked at are
//! different results: a file that cannot be looked at may still exist.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Size in bytes, modification time (seconds, nanoseconds) and inode number of a file. At least one of these values
/// differs after the file has changed.
pub type FileStat = (u64, i64, i64, u64);

/// The time at which the metadata of a file changed (seconds, nanoseconds), for example its owner or its permissions.
pub type ChangeTime = (i64, i64);

/// The device and the inode number of a folder. They differ if another folder has taken its place, for example the
/// empty folder under a file system that was unmounted.
pub type FolderId = (u64, u64);

/// The most bytes that a file of settings may have: a manifest, a certificate, the keys of callers.
pub const MAX_SETTINGS: u64 = 1 << 20;

/// Reads the [`FileStat`] of a file; `None` if there is no such file, or it cannot be looked at.
pub fn stat(path: &Path) -> Option<FileStat> {
    look_at_file(path).ok().flatten().map(|(stat, _)| stat)
}

/// Reads the [`FileStat`] of a file, and the time at which its metadata changed; `None` if there is no such file.
///
/// # Errors
/// If the file cannot be looked at. A link to a file that does not exist is an error, because the file system with the
/// file may have been unmounted.
pub fn look_at_file(path: &Path) -> io::Result<Option<(FileStat, ChangeTime)>> {
    Ok(metadata(path)?.filter(Metadata::is_file).map(|it| stats(&it)))
}

/// As [`look_at_file`], for a name at which only a regular file makes sense.
///
/// # Errors
/// As [`look_at_file`], and if the name belongs to something else: a folder, a FIFO, a socket or a device. The message
/// names it.
pub fn look_at_regular_file(path: &Path) -> io::Result<Option<(FileStat, ChangeTime)>> {
    let Some(metadata) = metadata(path)? else { return Ok(None) };
    check_regular(&metadata)?;
    Ok(Some(stats(&metadata)))
}

fn stats(it: &Metadata) -> (FileStat, ChangeTime) {
    ((it.len(), it.mtime(), it.mtime_nsec(), it.ino()), (it.ctime(), it.ctime_nsec()))
}

fn metadata(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => Ok(None),
        Err(error) => Err(error),
    }
}

fn check_regular(metadata: &Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    let what = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(io::Error::other(format!("it is {what}, not a regular file")))
}

/// Reads a regular file of at most `limit` bytes. A FIFO or a device could block the reader, or never end.
///
/// # Errors
/// If the file cannot be read, is not a regular file, or is larger.
pub fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    check_regular(&metadata)?;
    if metadata.len() > limit {
        return Err(io::Error::other(format!("it has more than {limit} bytes")));
    }
    fs::read(path)
}

/// The byte order mark, with which some editors begin a file of UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The bytes of a text without a byte order mark.
pub fn without_mark(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    bytes
}

/// Reads a regular file of UTF-8 text. As [`read_regular`], with at most [`MAX_SETTINGS`] bytes. A byte order mark does not
/// count.
///
/// # Errors
/// As [`read_regular`], and if the text is not UTF-8.
pub fn read_settings(path: &Path) -> io::Result<String> {
    let bytes = without_mark(read_regular(path, MAX_SETTINGS)?);
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8 text"))
}

/// Reads the [`FolderId`] of a folder.
///
/// # Errors
/// If there is no such folder, or it cannot be looked at.
pub fn folder_id(path: &Path) -> io::Result<FolderId> {
    let metadata = fs::metadata(path)?;
    match metadata.is_dir() {
        true => Ok((metadata.dev(), metadata.ino())),
        false => Err(io::ErrorKind::NotADirectory.into()),
    }
}

/// Returns true if a file is not in the folder, for example because it is a link. A file that does not exist is not
/// outside; reading it fails.
pub fn is_outside(folder: &Path, file: &Path) -> bool {
    // The folder of a path without a folder is the working directory, which only "." names.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(target) = file.canonicalize() else { return false };
    !folder.canonicalize().is_ok_and(|folder| target.starts_with(&folder))
}
