//! Why a path is not accessed, and the limits of time and threads.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// How long a call may make no progress.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How long a call may make no progress after another one of the same scan has not answered. Otherwise a scan would wait for
/// each of the files of a stalled mount.
pub(super) const HASTE: Duration = Duration::from_millis(500);
/// Maximum number of threads whose calls do not return, for each share.
pub(super) const MAX_BLOCKED: usize = 16;

/// Why a path was not accessed, or why the access took too long.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error(
        "the file system has not answered for {} s; check its mount (NFS, FUSE), or what the file is a link to",
        PATIENCE.as_secs()
    )]
    Silent,
    #[error(
        "the file system has not answered for {} ms, and other files of this scan did not answer at all; check their mounts \
         (NFS, FUSE)",
        HASTE.as_millis()
    )]
    SilentInHaste,
    #[error("it is read too slowly: {bytes} bytes in {seconds} s; check its mount (NFS, FUSE)")]
    Slow { bytes: u64, seconds: u64 },
    #[error("an earlier access to it is still blocked in the file system; check its mount (NFS, FUSE)")]
    StillBlocked,
    #[error("other files of its file system do not answer; check its mount (NFS, FUSE)")]
    FileSystem,
    #[error(
        "it is not read, because {MAX_BLOCKED} accesses to other files are blocked in the file system, one of them to {}; \
         check their mounts (NFS, FUSE)",
        .0.display()
    )]
    TooMany(PathBuf),
}

impl From<NoAnswer> for io::Error {
    fn from(reason: NoAnswer) -> Self {
        Self::new(io::ErrorKind::TimedOut, reason)
    }
}
