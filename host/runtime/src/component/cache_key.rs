//! The key that authenticates the entries of the compiled cache: a file in its folder that only its owner can read.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::draft::Draft;

/// The name of the file.
pub(super) const KEY_FILE: &str = "key";
/// The length of the key.
pub(super) const KEY_BYTES: usize = 32;

/// Reads a regular file. A FIFO would block the start.
pub(super) fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    match fs::metadata(path)?.is_file() {
        true => fs::read(path),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

/// Reads the key. A key that is missing, or was cut off when a disk was full or a process was killed, is replaced by a
/// new one.
pub(super) fn read_or_create_key(folder: &Path, path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let read = || match read_regular(path) {
        Ok(bytes) => Ok(<[u8; KEY_BYTES]>::try_from(bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    if let Some(key) = read()? {
        // This fails in a read-only folder, but there other users cannot write entries either.
        let _ = fs::set_permissions(path, Permissions::from_mode(0o600));
        return Ok(key);
    }
    // If two processes start at the same time, the second one reads the key of the first.
    let lock = File::open(folder)?;
    // If the file system has no locks, the second one has another key, and compiles again what the first one compiled.
    let _ = lock.lock();
    if let Some(key) = read()? {
        return Ok(key);
    }
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    Draft::create(path)?.write(&[&key])?.sync()?.publish(path)?;
    Ok(key)
}
