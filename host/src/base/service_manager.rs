//! Tells the service manager (systemd, `Type=notify`) that the server is ready, reloads or stops, as sd_notify(3)
//! describes. Without a service manager, nothing happens.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use plimsoll_runtime::text::shortened;

/// The variable with the address of the service manager's socket.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Says that the server serves.
pub fn ready(status: &str) {
    notify(&format!("READY=1\nSTATUS={}", one_line(status)));
}

/// Says that the server reads its configuration again. Call [`ready`] when it has.
pub fn reloading() {
    // The time tells the service manager which reload ended.
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let microseconds = time.tv_sec * 1_000_000 + time.tv_nsec / 1_000;
    notify(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}\nSTATUS=reading the configuration again"));
}

/// Says that the server stops.
pub fn stopping(status: &str) {
    notify(&format!("STOPPING=1\nSTATUS={}", one_line(status)));
}

/// systemd ignores a message of more than 4,096 bytes as a whole, also if its end is only a status.
fn one_line(status: &str) -> String {
    shortened(status).replace('\n', " ")
}

fn notify(message: &str) {
    let Some(socket) = std::env::var_os(SOCKET).filter(|socket| !socket.is_empty()) else { return };
    if let Err(error) = send(&socket.into_vec(), message) {
        tracing::warn!(
            "cannot send `{}` to the service manager at the socket that NOTIFY_SOCKET names: {error}",
            message.replace('\n', " ")
        );
    }
}

/// Sends to a path, or to a name in the abstract namespace, which begins with `@`.
fn send(socket: &[u8], message: &str) -> io::Result<()> {
    let address = match socket.split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(Path::new(std::ffi::OsStr::from_bytes(socket)))?,
    };
    let sender = UnixDatagram::unbound()?;
    // A service manager that does not read must not stop the server.
    sender.set_nonblocking(true)?;
    sender.send_to_addr(message.as_bytes(), &address).map(drop)
}
