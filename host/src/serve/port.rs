//! The ports of a host on which the server listens.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket, lookup_host};

/// Maximum connections in the system's queue, which the server has not accepted yet.
const BACKLOG: u32 = 1024;

/// Why the server cannot listen on a port.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The host cannot be looked up.
    #[error("`{host}` has no address: {error}")]
    UnknownHost {
        /// The host.
        host: String,
        /// The error of the system.
        error: io::Error,
    },
    /// The host has no address.
    #[error("`{0}` has no address")]
    NoAddress(String),
    /// No address of the host is an address of this machine.
    #[error("{0} is not an address of this machine")]
    NotOfThisMachine(IpAddr),
    /// Another process uses the port at some address of this machine.
    #[error("the port is in use; [::] is every address, of IPv4 too")]
    InUseAnywhere,
    /// Another process uses the port.
    #[error("another process uses port {} of {}", .0.port(), .0.ip())]
    InUse(SocketAddr),
    /// Only privileged processes may use the port.
    #[error("port {0} needs more rights; choose one from 1024 on")]
    NotPermitted(u16),
    /// Any other error of the system.
    #[error("{0}")]
    Other(io::Error),
}

impl PortError {
    fn explain(address: SocketAddr, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse if address.ip() == Ipv6Addr::UNSPECIFIED => Self::InUseAnywhere,
            io::ErrorKind::AddrInUse => Self::InUse(address),
            io::ErrorKind::PermissionDenied => Self::NotPermitted(address.port()),
            _ => Self::Other(error),
        }
    }
}

/// Reserves every address of a host. `localhost` may be an address of IPv4 and one of IPv6, and this machine may lack
/// one of them.
///
/// # Errors
/// If the host has no address, or the server cannot listen on one of them.
pub(super) async fn reserve_host(host: &str, port: u16) -> Result<Vec<(SocketAddr, TcpSocket)>, PortError> {
    let found = lookup_host((host, port)).await;
    let unknown = |error| PortError::UnknownHost { host: host.to_owned(), error };
    let mut addresses: Vec<_> = found.map_err(unknown)?.collect();
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
                sockets.push((address, socket));
            }
            Err(error) if is_missing(&error) => {
                missing = Some(PortError::NotOfThisMachine(address.ip()));
            }
            Err(error) => return Err(PortError::explain(address, error)),
        }
    }
    match missing {
        Some(missing) if sockets.is_empty() => Err(missing),
        None if sockets.is_empty() => Err(PortError::NoAddress(host.to_owned())),
        _ => Ok(sockets),
    }
}

/// Listens on a reserved address.
///
/// # Errors
/// If another process listens on it.
pub(super) fn listen_on(address: SocketAddr, socket: TcpSocket) -> Result<TcpListener, PortError> {
    socket.listen(BACKLOG).map_err(|error| PortError::explain(address, error))
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Without this, a restarted server would have to wait until the connections of the previous process have ended.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Returns true if a process cannot listen on both addresses: they are the same, or one of them is every address.
pub(super) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let includes = |one: SocketAddr, other: SocketAddr| {
        one.ip().is_unspecified() && (one.is_ipv4() == other.is_ipv4() || (one.is_ipv6() && !is_ipv6_separate()))
    };
    one.port() == other.port() && (one.ip() == other.ip() || includes(one, other) || includes(other, one))
}

/// Returns true if `[::]` is every address of IPv6 only. By default it is every address of IPv4, too.
fn is_ipv6_separate() -> bool {
    std::fs::read_to_string("/proc/sys/net/ipv6/bindv6only").is_ok_and(|text| text.trim() == "1")
}

/// Returns true if this machine does not have the address, or not its family.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}
