//! What the server tells systemd (`Type=notify`): when it serves, reads its configuration again, and stops.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;

use plimsoll_tests::{TempDir, guests_config};

use crate::process::{BINARY, PATIENCE, Process, Setup};

/// The next message to the service manager.
fn next(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 4096];
    let length = socket.recv(&mut bytes).expect("a message in time");
    String::from_utf8(bytes[..length].to_vec()).expect("UTF-8")
}

fn serve(setup: &Setup, socket: &str) -> Process {
    let mut command = Command::new(BINARY);
    command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(setup.folder.path().join("plimsoll.toml"));
    Process::spawn(command.env("NOTIFY_SOCKET", socket))
}

#[test]
fn the_service_manager_hears_of_the_start_a_reload_and_the_stop() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("bound");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    let setup = Setup::new("drain = \"0s\"");
    let mut server = serve(&setup, path.to_str().expect("text"));
    assert_eq!(next(&socket), "READY=1\nSTATUS=serving p");
    // It listens by now.
    assert!(server.wait_for("listening on").contains("listening on http://"));

    server.signal("-HUP");
    let reloading = next(&socket);
    let time = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).expect("a time");
    assert!(reloading.starts_with("RELOADING=1\n") && time.parse::<u64>().is_ok_and(|time| time > 0), "{reloading}");
    assert_eq!(next(&socket), "READY=1\nSTATUS=serving");
    assert!(server.wait_for("plimsoll::audit").contains("reload"));
    // A configuration that is refused ends the reload too.
    std::fs::write(setup.folder.path().join("plimsoll.toml"), "nonsense = 1\n").expect("written");
    server.signal("-HUP");
    assert!(next(&socket).starts_with("RELOADING=1\n"));
    assert_eq!(next(&socket), "READY=1\nSTATUS=serving");

    server.signal("-TERM");
    assert!(next(&socket).starts_with("STOPPING=1\n"));
    assert_eq!(server.wait_for_exit().0, Some(0));
}

#[test]
fn a_reload_that_is_asked_for_in_the_start_follows_it() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("bound");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    // With a cache of its own, which is empty, the start takes a while.
    let setup = Setup::with(&("cache_dir = \"cache\"\n".to_owned() + &guests_config("tester", "")));
    let mut server = serve(&setup, path.to_str().expect("text"));
    server.wait_for("compiling tester");
    // On a busy machine the start may be over by now; the messages are the same.
    server.signal("-HUP");
    assert_eq!(next(&socket), "READY=1\nSTATUS=serving p");
    assert!(next(&socket).starts_with("RELOADING=1\n"));
    assert_eq!(next(&socket), "READY=1\nSTATUS=serving");
    server.signal("-TERM");
    assert_eq!(server.wait_for_exit().0, Some(0));
}

#[test]
fn the_socket_may_be_in_the_abstract_namespace_or_gone() {
    let name = format!("plimsoll-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let socket = UnixDatagram::bind_addr(&address).expect("bound");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    let setup = Setup::new("drain = \"0s\"");
    let mut server = serve(&setup, &format!("@{name}"));
    assert_eq!(next(&socket), "READY=1\nSTATUS=serving p");
    // Nobody reads what follows.
    drop(socket);
    server.signal("-TERM");
    let (code, log) = server.wait_for_exit();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("cannot send `STOPPING=1"), "{log}");
}
