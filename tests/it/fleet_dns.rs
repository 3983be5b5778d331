//! `--server dns:HOST:PORT` with a name of several addresses. The name is in a file of hosts of a mount namespace.

use std::net::TcpListener;
use std::process::Command;

use plimsoll_tests::{TempDir, stamped_reply};

use crate::cli::text;
use crate::fleet_hosts::{Host, TOKEN, file};
use crate::process::BINARY;
use crate::wrapped::is_root;

/// A port that is free on all of these addresses.
fn free_port(addresses: &[&str]) -> u16 {
    (0..50)
        .find_map(|_| {
            let port = TcpListener::bind((addresses[0], 0)).ok()?.local_addr().ok()?.port();
            addresses.iter().all(|address| TcpListener::bind((*address, port)).is_ok()).then_some(port)
        })
        .expect("a port")
}

#[test]
fn a_name_stands_for_each_of_its_addresses_once_and_those_of_ipv4_come_first() {
    if !is_root() || !Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success()) {
        return plimsoll_tests::skip("mount namespaces need root");
    }
    let addresses = ["127.0.0.2", "127.0.0.3"];
    let port = free_port(&addresses);
    let hosts = addresses.map(|address| Host::on(&format!("{address}:{port}"), "", ""));
    let folder = TempDir::new().expect("a folder");
    let names = folder.path().join("hosts");
    // The address of IPv6 is not asked: a replica may have both. One is there twice.
    let lines = ["::1", "127.0.0.3", "127.0.0.2", "127.0.0.3"].map(|address| format!("{address} replicas.test\n"));
    std::fs::write(&names, lines.concat()).expect("written");
    let plimsoll = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        let script = "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"";
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(&names).arg(BINARY).arg("plugin").args(arguments);
        command.args(["--server", &format!("dns:replicas.test:{port}")]);
        command.env("PLIMSOLL_ADMIN_TOKEN", TOKEN).env_remove("RUST_LOG").output().expect("it starts")
    };
    let output = plimsoll(&["deploy", &file(&hosts[0].site, 1)]);
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{printed}{}", text(&output.stderr));
    assert_eq!(printed.matches("is serving").count(), 2, "{printed}");
    let place = |host: &Host| printed.find(&format!("{}:\n", host.url)).unwrap_or_else(|| panic!("{printed}"));
    assert!(place(&hosts[0]) < place(&hosts[1]), "in their order: {printed}");
    assert_eq!(hosts.each_ref().map(Host::reply), [1, 1].map(stamped_reply));
    let listed = text(&plimsoll(&["list"]).stdout);
    assert!(listed.contains("all 2 servers serve the same versions"), "{listed}");
}
