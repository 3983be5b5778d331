//! Hosts that are network namespaces, with cables between them. They need root, which CI has, and network namespaces, which the
//! kernel may not permit in a container.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::process::PATIENCE;
use crate::wrapped::{can_run, is_root};

/// A process in its own network namespace. It is killed on drop, and the namespace ends with it.
pub(crate) struct Host(Child);

impl Host {
    fn new() -> Self {
        let child = Command::new("unshare").args(["-n", "sleep", "600"]).spawn().expect("it starts");
        let this = Self(child);
        let own = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
        let end = Instant::now() + PATIENCE;
        while std::fs::read_link(format!("/proc/{}/ns/net", this.0.id())).is_ok_and(|namespace| namespace == own) {
            assert!(Instant::now() < end, "no namespace");
            std::thread::sleep(Duration::from_millis(2));
        }
        this.ip("link set lo up");
        this
    }

    /// A command of this host.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.0.id().to_string(), "-n", program]);
        command
    }

    /// Runs the program `ip` with these words.
    pub(crate) fn ip(&self, arguments: &str) {
        let output = self.command("ip").args(arguments.split(' ')).output().expect("it starts");
        assert!(output.status.success(), "ip {arguments}: {output:?}");
    }

    /// Connects this host with another one: the ends of the cable have these names and the addresses `10.99.NUMBER.1` (here)
    /// and `10.99.NUMBER.2` (there).
    pub(crate) fn connect(&self, near: &str, other: &Self, far: &str, number: u8) {
        self.ip(&format!("link add {near} type veth peer name {far} netns {}", other.0.id()));
        for (host, name, last) in [(self, near, 1), (other, far, 2)] {
            host.ip(&format!("address add 10.99.{number}.{last}/24 dev {name}"));
            host.ip(&format!("link set {name} up"));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// So many hosts without cables. `None` if this machine cannot have them; then the reason is printed.
pub(crate) fn hosts<const COUNT: usize>() -> Option<[Host; COUNT]> {
    if !is_root() {
        plimsoll_tests::skip("network namespaces need root");
        return None;
    }
    let script = "ip link set lo up && ip link add near type veth peer name far && exec \"$@\"";
    let own = std::process::id().to_string();
    if !can_run(&["unshare", "-n", "sh", "-c", script, "sh"]) || !can_run(&["nsenter", "-t", &own, "-n"]) {
        return None;
    }
    Some([(); COUNT].map(|()| Host::new()))
}
