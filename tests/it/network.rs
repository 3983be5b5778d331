//! Two hosts with a cable between them, each a network namespace. The cable is cut: no packet says that the connections have
//! ended. Needs root, which CI has, and network namespaces, which the kernel may not permit in a container.

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use plimsoll_tests::{guests_config, shared_cache};

use crate::process::{BINARY, PATIENCE, Process, Setup, text};
use crate::wrapped::{can_run, is_root};

/// A process in its own network namespace. It is killed on drop, and the namespace ends with it.
struct Host(Child);

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
        this
    }

    /// A command of this host.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.0.id().to_string(), "-n", program]);
        command
    }

    fn ip(&self, arguments: &str) {
        let output = self.command("ip").args(arguments.split(' ')).output().expect("it starts");
        assert!(output.status.success(), "ip {arguments}: {output:?}");
    }

    fn curl(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("curl");
        command
            .args(["--silent", "--show-error", "--output", "/dev/null", "--write-out", "%{http_code}"])
            .args(arguments);
        command
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The server's host, and the host of a client. `None` if this machine cannot have them.
fn hosts() -> Option<(Host, Host)> {
    if !is_root() {
        plimsoll_tests::skip("network namespaces need root");
        return None;
    }
    let script = "ip link set lo up && ip link add near type veth peer name far && exec \"$@\"";
    let own = std::process::id().to_string();
    if !can_run(&["unshare", "-n", "sh", "-c", script, "sh"]) || !can_run(&["nsenter", "-t", &own, "-n"]) {
        return None;
    }
    let (near, far) = (Host::new(), Host::new());
    near.ip(&format!("link add near type veth peer name far netns {}", far.0.id()));
    for (host, name, address) in [(&near, "near", "10.99.0.1/24"), (&far, "far", "10.99.0.2/24")] {
        host.ip("link set lo up");
        host.ip(&format!("address add {address} dev {name}"));
        host.ip(&format!("link set {name} up"));
    }
    Some((near, far))
}

fn status(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

/// A client vanishes while it reads a reply, and another one while it sends a body. What they hold is free again after the
/// server's time-outs, although TCP would wait for many minutes; and the server serves all others.
#[test]
fn clients_behind_a_cut_cable_hold_nothing_for_long() {
    let Some((near, far)) = hosts() else { return };
    let limits = "[server]\nreply_budget = \"20MiB\"\nbudget_wait = \"0s\"\nreply_timeout = \"2s\"\nbody_timeout = \"10m\"\n\
                  max_body = \"8MiB\"\nbody_budget = \"8MiB\"\nmax_caller_concurrency = 1\n";
    let guests = guests_config("tester", "deadline = \"60s\"");
    let config = format!("cache_dir = {:?}\n{limits}{guests}max_output = \"16MiB\"\n", shared_cache());
    let setup = Setup::with(&config);
    let listen = ["serve", "--listen", "10.99.0.1:0", "--config", &setup.path("plimsoll.toml")];
    let process = Process::spawn(near.command(BINARY).args(listen));
    let url = process.url();
    let infer = format!("{url}/v1/pipelines/p/infer");
    let large = format!("{infer}?post=big&bytes=15000000");
    let ask = |host: &Host, caller: &str, url: &str| {
        let caller = format!("x-plimsoll-caller: {caller}");
        status(&host.curl(&["--header", &caller, "--data-binary", "x", url]).output().expect("it starts"))
    };
    assert_eq!(ask(&far, "first", &large), "200");

    let slow = |caller: &str, rate: &str, more: &[&str]| {
        let caller = format!("x-plimsoll-caller: {caller}");
        let mut command = far.curl(&["--header", &caller, "--limit-rate", rate]);
        let child = command.args(more).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        Host(child)
    };
    let body = setup.folder.path().join("body");
    std::fs::write(&body, vec![0; 4 << 20]).expect("written");
    let body = format!("@{}", body.display());
    let _reads = slow("reads", "500k", &["--data-binary", "x", &large]);
    let _sends = slow("sends", "20k", &["--data-binary", &body, &infer]);
    let wait_for = |what: &str, caller: &str, url: &str, wanted: &str| {
        let end = Instant::now() + PATIENCE;
        while ask(&near, caller, url) != wanted {
            assert!(Instant::now() < end, "{what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    wait_for("the reply takes no budget", "other", &large, "503");
    wait_for("the body takes no place of its caller", "sends", &infer, "429");

    near.ip("link set near down");
    wait_for("the reply of the client that is gone is not cut off", "other", &large, "200");
    wait_for("the body of the client that is gone is waited for", "sends", &infer, "200");
    assert_eq!(ask(&near, "other", &format!("{url}/v2/health/ready")), "405", "POST, and the server answers");
    near.ip("link set near up");
    wait_for_far(&far, &infer);
}

fn wait_for_far(far: &Host, url: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let output = far.curl(&["--max-time", "2", "--data-binary", "x", url]).output().expect("it starts");
        if output.status.success() && text(&output.stdout) == "200" {
            return;
        }
        assert!(Instant::now() < end, "the cable works again, and the server does not: {output:?}");
    }
}
