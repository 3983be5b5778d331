//! The sockets on which the server listens: ports, and unix sockets.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream};
use tokio_util::either::Either;

use super::port::{self, PortError, listen_on, reserve_host};
use super::unix_socket::{UnixSocket, UnixSocketError, check};
use crate::config::{Listen, ListenAddress};

/// An accepted connection.
pub type Stream = Either<TcpStream, UnixStream>;

/// The address of a client; `None` if it came over a unix socket.
pub type Peer = Option<SocketAddr>;

/// The server cannot listen on an address.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is a port.
    #[error("cannot listen on {address}: {reason}")]
    Port {
        /// The address.
        address: ListenAddress,
        /// The reason.
        reason: PortError,
    },
    /// The address is a unix socket.
    #[error("cannot listen on {address}: {reason}")]
    UnixSocket {
        /// The address.
        address: ListenAddress,
        /// The reason.
        reason: UnixSocketError,
    },
}

impl ListenError {
    fn port(address: &ListenAddress, reason: PortError) -> Self {
        Self::Port { address: address.clone(), reason }
    }

    fn unix_socket(address: &ListenAddress, reason: UnixSocketError) -> Self {
        Self::UnixSocket { address: address.clone(), reason }
    }

    /// Returns true if no server can listen on the address, so that the setting must be changed.
    pub fn is_impossible(&self) -> bool {
        matches!(self, Self::UnixSocket { reason, .. } if reason.is_impossible())
    }
}

/// A socket on which the server listens.
#[derive(Debug)]
pub enum Listener {
    /// A port of one IP address.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixSocket),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => write!(f, "http://{address}"),
                Err(error) => write!(f, "http://(unknown address: {error})"),
            },
            Self::Unix(socket) => write!(f, "unix:{}", socket.path().display()),
        }
    }
}

impl Listener {
    /// Listens on every address.
    ///
    /// # Errors
    /// If the server cannot listen on one of them. The message names it.
    pub async fn bind_all(listen: &Listen) -> Result<Vec<Self>, ListenError> {
        Reserved::all(listen).await?.listen().await
    }

    /// Accepts a connection.
    pub(super) fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(Stream, Peer)>> {
        match self {
            Self::Tcp(listener) => {
                listener.poll_accept(context).map_ok(|(stream, peer)| (Either::Left(stream), Some(peer)))
            }
            Self::Unix(socket) => socket.poll_accept(context).map_ok(|stream| (Either::Right(stream), None)),
        }
    }
}

/// Addresses that are reserved for this process, but on which it does not listen yet: a client that connects is refused.
#[derive(Debug, Default)]
pub struct Reserved(Vec<(ListenAddress, Socket)>);

/// A reserved address.
#[derive(Debug)]
enum Socket {
    Tcp(SocketAddr, TcpSocket),
    /// A unix socket cannot be reserved, but it was checked that no other process uses it.
    Unix(PathBuf),
}

impl Socket {
    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unix(one), Self::Unix(other)) => real_path(one) == real_path(other),
            (Self::Tcp(_, one), Self::Tcp(_, other)) => match (one.local_addr(), other.local_addr()) {
                (Ok(one), Ok(other)) => port::overlap(one, other),
                _ => false,
            },
            _ => false,
        }
    }
}

/// The path of a socket that may not exist yet, with the real path of its folder.
fn real_path(path: &Path) -> PathBuf {
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    folder.zip(path.file_name()).map_or_else(|| path.to_owned(), |(folder, name)| folder.join(name))
}

impl Reserved {
    /// Reserves every address.
    ///
    /// # Errors
    /// If the server cannot listen on one of them. The message names it.
    pub async fn all(listen: &Listen) -> Result<Self, ListenError> {
        let mut reserved = Vec::new();
        for address in &listen.0 {
            match address {
                ListenAddress::Unix(path) => {
                    check(path).await.map_err(|reason| ListenError::unix_socket(address, reason))?;
                    reserved.push((address.clone(), Socket::Unix(path.clone())));
                }
                ListenAddress::Tcp { host, port } => {
                    let sockets = reserve_host(host, *port).await;
                    let sockets = sockets.map_err(|reason| ListenError::port(address, reason))?;
                    let sockets = sockets.into_iter().map(|(at, socket)| Socket::Tcp(at, socket));
                    reserved.extend(sockets.map(|socket| (address.clone(), socket)));
                }
            }
        }
        Ok(Self(reserved))
    }

    /// Finds an address of `self` and one of `other` on which a process cannot listen at the same time, although both are
    /// reserved.
    pub fn conflict<'a>(&'a self, other: &'a Self) -> Option<(&'a ListenAddress, &'a ListenAddress)> {
        let pairs = self.0.iter().flat_map(|one| other.0.iter().map(move |other| (one, other)));
        let mut pairs = pairs.filter(|(one, other)| !std::ptr::eq(*one, *other));
        pairs.find(|(one, other)| one.1.overlaps(&other.1)).map(|(one, other)| (&one.0, &other.0))
    }

    /// Listens on every address.
    ///
    /// # Errors
    /// If the server cannot listen on one of them. The message names it.
    pub async fn listen(self) -> Result<Vec<Listener>, ListenError> {
        let mut listeners = Vec::new();
        for (address, socket) in self.0 {
            listeners.push(match socket {
                Socket::Unix(path) => {
                    let socket = UnixSocket::bind(&path).await;
                    Listener::Unix(socket.map_err(|reason| ListenError::unix_socket(&address, reason))?)
                }
                Socket::Tcp(at, socket) => {
                    let listener = listen_on(at, socket);
                    Listener::Tcp(listener.map_err(|reason| ListenError::port(&address, reason))?)
                }
            });
        }
        Ok(listeners)
    }
}
