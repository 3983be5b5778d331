//! Two hosts with a cable between them. The cable is cut: no packet says that the connections have ended.

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use plimsoll_tests::{guests_config, shared_cache};

use crate::namespaces::{Host, hosts};
use crate::process::{BINARY, PATIENCE, Process, Setup, text};

/// A process that is killed on drop.
struct Client(Child);

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn curl(host: &Host, arguments: &[&str]) -> Command {
    let mut command = host.command("curl");
    command.args(["--silent", "--show-error", "--output", "/dev/null", "--write-out", "%{http_code}"]).args(arguments);
    command
}

fn status(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

/// A client vanishes while it reads a reply, and another one while it sends a body. What they hold is free again after the
/// server's time-outs, although TCP would wait for many minutes; and the server serves all others.
#[test]
fn clients_behind_a_cut_cable_hold_nothing_for_long() {
    let Some([near, far]) = hosts() else { return };
    near.connect("near", &far, "far", 0);
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
        status(&curl(host, &["--header", &caller, "--data-binary", "x", url]).output().expect("it starts"))
    };
    assert_eq!(ask(&far, "first", &large), "200");

    let slow = |caller: &str, rate: &str, more: &[&str]| {
        let caller = format!("x-plimsoll-caller: {caller}");
        let mut command = curl(&far, &["--header", &caller, "--limit-rate", rate]);
        let child = command.args(more).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        Client(child)
    };
    let body = setup.folder.path().join("body");
    std::fs::write(&body, vec![0; 4 << 20]).expect("written");
    let body = format!("@{}", body.display());
    let head = setup.folder.path().join("head");
    let end = Instant::now() + PATIENCE;
    let _reads = loop {
        let _ = std::fs::remove_file(&head);
        let reads =
            slow("reads", "500k", &["--dump-header", head.to_str().expect("text"), "--data-binary", "x", &large]);
        let line = loop {
            let head = std::fs::read_to_string(&head).unwrap_or_default();
            if let Some((line, _)) = head.split_once('\n') {
                break line.to_owned();
            }
            assert!(Instant::now() < end, "no head of a reply");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(Instant::now() < end, "{line}");
        // It has its budget before another one asks for it. The one before may not have given it back yet.
        if line.contains(" 200") {
            break reads;
        }
    };
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
        let output = curl(far, &["--max-time", "2", "--data-binary", "x", url]).output().expect("it starts");
        if output.status.success() && text(&output.stdout) == "200" {
            return;
        }
        assert!(Instant::now() < end, "the cable works again, and the server does not: {output:?}");
    }
}
