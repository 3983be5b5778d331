//! Metadata of files and folders, used to detect changes, and the content of regular files. Everything is read within a
//! time limit ([`within_time`]).
//!
//! To look at a file means to read its metadata. A file that does not exist and a file that cannot be looked at are
//! different results: a file that cannot be looked at may still exist.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::file_access::{note_progress, within_time};

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

/// The bytes that are read at once. After each of them there is progress.
const CHUNK: u64 = 1 << 20;

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
    let of = path.to_owned();
    within_time(path, move || match fs::metadata(&of) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(&of).is_err() => Ok(None),
        Err(error) => Err(error),
    })
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

/// Opens a regular file for reading. A FIFO or a device could block, or never end. Call this inside of [`within_time`].
///
/// # Errors
/// If the file cannot be opened, or is not a regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    open_with(path, 0)
}

fn open_with(path: &Path, flags: libc::c_int) -> io::Result<File> {
    // To open a device may change it, so it is not even opened.
    check_regular(&fs::metadata(path)?)?;
    // Something else may have taken its place. Then opening it does not block either.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | flags).open(path)?;
    check_regular(&file.metadata()?)?;
    Ok(file)
}

/// Reads the rest of a file, but at most `limit` bytes and one more. Call this inside of [`within_time`].
///
/// # Errors
/// If the file cannot be read.
pub fn read_open(mut file: impl Read, size: u64, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(size.min(limit)).unwrap_or(0))?;
    loop {
        let left = limit.saturating_add(1).saturating_sub(bytes.len() as u64);
        let read = file.by_ref().take(left.min(CHUNK)).read_to_end(&mut bytes).map_err(explain)?;
        note_progress(read)?;
        if read == 0 {
            return Ok(bytes);
        }
    }
}

/// Some files of the kernel look like regular files, and wait for data as a device does.
fn explain(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::other(
            "it has no data now and no end, as some files in /proc and /sys; replace it with a regular file",
        ),
        _ => error,
    }
}

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// If the file cannot be read in time, is not a regular file, or is larger.
pub fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let of = path.to_owned();
    within_time(path, move || read_whole(open_regular(&of)?, limit))
}

/// As [`read_regular`], for a file that somebody else may have put there, for example from an archive: it may lead to any
/// file that this process can read, so symbolic links are not followed.
///
/// # Errors
/// As [`read_regular`], and if the file is a symbolic link.
pub fn read_unlinked(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let of = path.to_owned();
    within_time(path, move || {
        check_no_link(&of)?;
        // A link that takes its place now cannot be opened either.
        read_whole(open_with(&of, libc::O_NOFOLLOW)?, limit)
    })
}

/// Checks that a name does not belong to a symbolic link. Call this inside of [`within_time`].
///
/// # Errors
/// If it does, or if it cannot be looked at.
pub fn check_no_link(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path)?.file_type().is_symlink() {
        true => Err(io::Error::other("it is a symbolic link, and links are not followed here; copy the file itself")),
        false => Ok(()),
    }
}

fn read_whole(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let size = file.metadata()?.len();
    let is_larger = || io::Error::other(format!("it has more than {limit} bytes"));
    if size > limit {
        return Err(is_larger());
    }
    let bytes = read_open(file, size, limit)?;
    if bytes.len() as u64 > limit { Err(is_larger()) } else { Ok(bytes) }
}

/// Reads the first `limit` bytes of a regular file, and its metadata.
///
/// # Errors
/// If the file cannot be read in time, or is not a regular file.
pub fn read_start(path: &Path, limit: u64) -> io::Result<(Vec<u8>, Metadata)> {
    let of = path.to_owned();
    within_time(path, move || {
        let file = open_regular(&of)?;
        let metadata = file.metadata()?;
        let bytes = read_open(file.take(limit), metadata.len(), limit)?;
        Ok((bytes, metadata))
    })
}

/// The paths in a folder.
///
/// # Errors
/// If the folder cannot be read in time.
pub fn list_folder(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let of = folder.to_owned();
    within_time(folder, move || fs::read_dir(of)?.map(|entry| Ok(entry?.path())).collect())
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
    let of = path.to_owned();
    let metadata = within_time(path, move || fs::metadata(of))?;
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
