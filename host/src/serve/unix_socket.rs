//! A unix socket in the file system. The file of a process that has ended is replaced. The server removes its own file
//! at the end.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use rustix::fs::Access;
use tokio::net::{UnixListener, UnixStream};

/// The permissions of the socket's file: its owner and its group may connect.
const MODE: u32 = 0o660;
/// Maximum connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Why the server cannot listen on a unix socket.
#[derive(Debug, thiserror::Error)]
pub enum UnixSocketError {
    /// The file of a process that has ended cannot be removed.
    #[error("cannot remove the socket of an earlier process: {0}")]
    Remove(io::Error),
    /// The system cannot address a path of this length.
    #[error("the path is too long for a socket: the system allows 107 bytes, and it has {0}; choose a shorter one")]
    TooLong(usize),
    /// The folder does not exist.
    #[error("its folder does not exist")]
    NoFolder,
    /// The folder cannot be used.
    #[error("{} cannot be used as its folder: {error}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// The socket cannot be created.
    #[error("{0}")]
    Create(io::Error),
    /// The permissions of the file cannot be set.
    #[error("cannot set the permissions of the socket: {0}")]
    Permissions(io::Error),
    /// The path has another kind of file.
    #[error("the file exists and is not a socket; remove it, or choose another path")]
    NotSocket,
    /// The socket belongs to another user.
    #[error("the socket belongs to another user; remove it, or choose another path")]
    OtherUser,
    /// Another process listens on the socket.
    #[error("another process listens there")]
    InUse,
}

impl UnixSocketError {
    /// Returns true if no process of this user can have a socket at the path as it is.
    pub fn is_impossible(&self) -> bool {
        matches!(self, Self::TooLong(_) | Self::NoFolder | Self::Folder { .. })
    }
}

/// A unix socket on which the server listens.
#[derive(Debug)]
pub struct UnixSocket {
    // It is removed before the listener is closed.
    file: SocketFile,
    listener: UnixListener,
}

/// The file of a socket, which is removed on drop.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode of the file. Another process may have replaced the file since.
    id: Option<(u64, u64)>,
}

impl SocketFile {
    /// The file that was created now.
    fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), id: Self::id(path) }
    }

    fn id(path: &Path) -> Option<(u64, u64)> {
        fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
    }
}

impl UnixSocket {
    /// Listens on a path. A socket on which no process listens any more is replaced.
    ///
    /// # Errors
    /// If another process listens there, the path has another kind of file, or the socket cannot be created.
    pub async fn bind(path: &Path) -> Result<Self, UnixSocketError> {
        if is_left_over(path).await? {
            fs::remove_file(path).map_err(UnixSocketError::Remove)?;
        }
        let socket = tokio::net::UnixSocket::new_stream().map_err(UnixSocketError::Create)?;
        socket.bind(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => UnixSocketError::NoFolder,
            _ => UnixSocketError::Create(error),
        })?;
        let file = SocketFile::of(path);
        // Nobody can connect before the server listens, so nobody can without these permissions.
        fs::set_permissions(path, fs::Permissions::from_mode(MODE)).map_err(UnixSocketError::Permissions)?;
        Ok(Self { listener: socket.listen(BACKLOG).map_err(UnixSocketError::Create)?, file })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Accepts a connection.
    pub(super) fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<UnixStream>> {
        self.listener.poll_accept(context).map_ok(|(stream, _)| stream)
    }
}

/// Checks that the server can listen on a path later.
///
/// # Errors
/// If it cannot.
pub(super) async fn check(path: &Path) -> Result<(), UnixSocketError> {
    if SocketAddr::from_pathname(path).is_err() {
        return Err(UnixSocketError::TooLong(path.as_os_str().len()));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => UnixSocketError::NoFolder,
        _ => UnixSocketError::Folder { folder: folder.to_owned(), error },
    };
    if !fs::metadata(folder).map_err(failed)?.is_dir() {
        return Err(failed(io::ErrorKind::NotADirectory.into()));
    }
    rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| failed(error.into()))?;
    is_left_over(path).await.map(drop)
}

/// Returns true if the path has a socket of a process that has ended without removing it.
///
/// # Errors
/// If another process listens there, or the path has another kind of file.
async fn is_left_over(path: &Path) -> Result<bool, UnixSocketError> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(false) };
    if !found.file_type().is_socket() {
        return Err(UnixSocketError::NotSocket);
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(UnixSocketError::OtherUser),
        // A listener whose queue is full answers with another error.
        Ok(_) | Err(_) => Err(UnixSocketError::InUse),
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.id.is_some() && Self::id(&self.path) == self.id {
            let _ = fs::remove_file(&self.path);
        }
    }
}
