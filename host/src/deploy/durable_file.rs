//! Files that are complete or unchanged after a crash.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The extension of files that are being written.
pub(super) const DRAFT: &str = "draft";

/// Writes a file so that after a crash it is either complete or unchanged. If it fails, the draft is removed, because it
/// could take the last space of the disk.
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes)?;
    sync_folder(path)
}

/// As [`write_durably`], but after a crash the file may also be as it was before, until [`sync_folder`].
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension(DRAFT);
    let written = write_all_to_disk(&draft, bytes).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written
}

/// Makes the name of a file durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

/// Writes a file for its owner only, and waits until its bytes are on disk.
pub(super) fn write_all_to_disk(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
