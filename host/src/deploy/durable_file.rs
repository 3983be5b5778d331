//! Files that are complete or unchanged after a crash.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The extension of files that are being written.
pub(super) const DRAFT: &str = "draft";

/// Writes a file so that after a crash it is either complete or as it was before, which both are possible until
/// [`sync_folder`]. If it fails, the draft is removed, because it could take the last space of the disk. Returns the open
/// file.
pub(super) fn create_durably(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let draft = path.with_extension(DRAFT);
    let written = write_all_to_disk(&draft, bytes).and_then(|file| fs::rename(&draft, path).map(|()| file));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written
}

/// Makes the name of a file durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

/// Writes a file for its owner only, and waits until its bytes are on disk. Returns the open file.
pub(super) fn write_all_to_disk(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(file)
}
