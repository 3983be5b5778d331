//! The sockets on which the server listens: ports, and unix sockets.

use std::fmt;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::task::{Context, Poll};

use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream, lookup_host};
use tokio_util::either::Either;

use super::unix_socket::{UnixSocket, is_left_over};
use crate::config::{Listen, ListenAddress};

/// How many connections the system lets in before the server accepts them.
const BACKLOG: u32 = 1024;

/// An accepted connection.
pub type Stream = Either<TcpStream, UnixStream>;

/// The address of a client; `None` if it came over a unix socket.
pub type Peer = Option<SocketAddr>;

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
    pub async fn bind_all(listen: &Listen) -> Result<Vec<Self>, String> {
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
    /// A unix socket cannot be reserved. That no other process uses it was checked.
    Unix(PathBuf),
}

impl Reserved {
    /// Reserves every address.
    ///
    /// # Errors
    /// If the server cannot listen on one of them. The message names it.
    pub async fn all(listen: &Listen) -> Result<Self, String> {
        let mut reserved = Vec::new();
        for address in &listen.0 {
            let sockets = match address {
                ListenAddress::Unix(path) => is_left_over(path).await.map(|_| vec![Socket::Unix(path.clone())]),
                ListenAddress::Tcp { host, port } => bind_host(host, *port).await,
            };
            let sockets = sockets.map_err(|why| failed(address, &why))?;
            reserved.extend(sockets.into_iter().map(|socket| (address.clone(), socket)));
        }
        Ok(Self(reserved))
    }

    /// Listens on every address.
    ///
    /// # Errors
    /// If the server cannot listen on one of them. The message names it.
    pub async fn listen(self) -> Result<Vec<Listener>, String> {
        let mut listeners = Vec::new();
        for (address, socket) in self.0 {
            let listener = match socket {
                Socket::Unix(path) => UnixSocket::bind(&path).await.map(Listener::Unix),
                Socket::Tcp(at, socket) => {
                    socket.listen(BACKLOG).map(Listener::Tcp).map_err(|error| explained(at, &error))
                }
            };
            listeners.push(listener.map_err(|why| failed(&address, &why))?);
        }
        Ok(listeners)
    }
}

fn failed(address: &ListenAddress, why: &str) -> String {
    format!("cannot listen on {address}: {why}")
}

/// Reserves every address of a host. `localhost` may be an address of IPv4 and one of IPv6, and this machine may lack
/// one of them.
async fn bind_host(host: &str, port: u16) -> Result<Vec<Socket>, String> {
    let found = lookup_host((host, port)).await;
    let mut addresses: Vec<_> = found.map_err(|error| format!("`{host}` has no address: {error}"))?.collect();
    addresses.sort_by_key(|address| address.is_ipv6());
    addresses.dedup();
    let (mut sockets, mut missing) = (Vec::new(), None);
    let mut port = port;
    for mut address in addresses {
        address.set_port(port);
        match bind(address) {
            Ok(socket) => {
                // A free port is selected once, for all addresses of the host.
                port = socket.local_addr().map_or(port, |address| address.port());
                sockets.push(Socket::Tcp(address, socket));
            }
            Err(error) if is_missing(&error) => {
                missing = Some(format!("{} is no address of this machine", address.ip()))
            }
            Err(error) => return Err(explained(address, &error)),
        }
    }
    match missing {
        Some(missing) if sockets.is_empty() => Err(missing),
        None if sockets.is_empty() => Err(format!("`{host}` has no address")),
        _ => Ok(sockets),
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Otherwise a restarted server would have to wait for the connections of the one before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Returns true if this machine does not have the address, or not its family.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

fn explained(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse if address.ip() == Ipv6Addr::UNSPECIFIED => {
            "the port is in use; [::] is every address, of IPv4 too".to_owned()
        }
        io::ErrorKind::AddrInUse => format!("another process uses port {} of {}", address.port(), address.ip()),
        io::ErrorKind::PermissionDenied => {
            format!("port {} needs more rights; choose one from 1024 on", address.port())
        }
        _ => error.to_string(),
    }
}
