//! The Debian package on a system whose first process is systemd 252, in a container: installed, started, reloaded, killed,
//! stopped, with a configuration that is not valid, and removed.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::cli::text;
use crate::documents::repository;
use crate::podman::Podman;
use crate::process::{BINARY, PATIENCE};

/// The system that `.ci/run` makes with debootstrap.
const SYSTEM: &str = "target/systemd-system";
const NAME: &str = "system";

/// A container that runs systemd.
struct System {
    podman: Podman,
}

impl System {
    /// Starts a copy of the system, with the package in its folder `/root`.
    fn start(podman: Podman) -> Self {
        let root = podman.path("root");
        run(Command::new("cp").arg("--archive").arg(repository().join(SYSTEM)).arg(&root));
        // The debug information of the tests is larger than the program, and compressing it would take minutes.
        let program = podman.path("plimsoll");
        run(Command::new("strip").arg("-o").arg(&program).arg(BINARY));
        let script = repository().join("host/deploy/packages/deb.sh");
        run(Command::new(script).arg(&program).arg(podman.path("deb")).env("DPKG_DEB_COMPRESSOR_TYPE", "none"));
        let package =
            std::fs::read_dir(podman.path("deb")).expect("a folder").next().expect("a package").expect("readable");
        std::fs::copy(package.path(), root.join("root/plimsoll.deb")).expect("copied");
        let rootfs = root.to_str().expect("text");
        // The namespaces of the unit need rights that a container usually does not have.
        podman.run(&[
            "run",
            "--detach",
            "--name",
            NAME,
            "--privileged",
            "--systemd=always",
            "--network",
            "none",
            "--rootfs",
            rootfs,
            "/lib/systemd/systemd",
        ]);
        let this = Self { podman };
        this.wait("systemd is the first process", |this| {
            matches!(this.ask("systemctl is-system-running || true").as_str(), "running" | "degraded")
        });
        this
    }

    /// Runs a command of the shell in the system. Returns what it prints.
    fn ask(&self, command: &str) -> String {
        let output = self.podman.try_run(&["exec", NAME, "/bin/sh", "-c", command]);
        text(&output.stdout).trim().to_owned()
    }

    /// As [`System::ask`]. The command must succeed.
    fn run(&self, command: &str) -> String {
        let output = self.podman.try_run(&["exec", NAME, "/bin/sh", "-c", command]);
        assert!(output.status.success(), "{command}: {}{}\n{}", text(&output.stdout), text(&output.stderr), self.log());
        text(&output.stdout).trim().to_owned()
    }

    /// A property of the unit.
    fn property(&self, name: &str) -> String {
        self.run(&format!("systemctl show --property={name} --value plimsoll"))
    }

    fn log(&self) -> String {
        self.ask("systemctl status --no-pager plimsoll; journalctl --no-pager --unit plimsoll --lines 60")
    }

    fn wait(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + 3 * PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < end, "{what}: {}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn wait_for_log(&self, words: &str) {
        self.wait(words, |this| this.ask("journalctl --no-pager --unit plimsoll").contains(words));
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn the_package_is_a_service_of_systemd() {
    if !repository().join(SYSTEM).join("lib/systemd/systemd").exists() {
        // `.ci/run` sets it after it has tried to make the system.
        return match std::env::var("PLIMSOLL_NO_SYSTEM") {
            Ok(why) if !why.is_empty() => eprintln!("SKIPPED: PLIMSOLL_NO_SYSTEM is set: {why}"),
            _ => plimsoll_tests::skip(&format!("{SYSTEM} is missing: .ci/run makes it with debootstrap")),
        };
    }
    let Some(podman) = Podman::new() else { return };
    let system = System::start(podman);
    assert!(system.run("systemctl --version").starts_with("systemd 252"), "{}", system.run("systemctl --version"));

    system.run("dpkg --install /root/plimsoll.deb");
    assert_eq!(system.ask("systemctl is-active plimsoll"), "inactive", "an administrator starts it");
    system.run("systemctl enable --now plimsoll");
    assert_eq!([system.property("ActiveState"), system.property("NotifyAccess")], ["active", "main"]);
    assert!(system.property("StatusText").starts_with("serving digits"), "{}", system.log());
    system.run("plimsoll health");
    // A user of its own, and a data folder that only this user can read.
    assert_ne!(system.run("stat -c %u /proc/$(systemctl show -P MainPID plimsoll)"), "0");
    assert_eq!(system.run("stat -L -c %a /var/lib/plimsoll"), "700");

    let first = system.property("MainPID");
    system.run("systemctl reload plimsoll");
    // systemd 252 does not wait until the process says that it has reloaded.
    system.wait("reloaded", |this| this.property("ActiveState") == "active");
    assert_eq!(system.property("MainPID"), first);

    system.run(&format!("kill -KILL {first}"));
    system.wait("started again after a kill", |this| {
        this.property("MainPID") != first && this.property("ActiveState") == "active"
    });
    system.run("plimsoll health");
    assert_eq!(system.property("NRestarts"), "1");

    system.run("systemctl stop plimsoll");
    assert_eq!(
        [system.property("ActiveState"), system.property("Result")],
        ["inactive", "success"],
        "{}",
        system.log()
    );
    system.wait_for_log("stopped");

    // A configuration that is not valid is not tried again and again.
    system.run("cp /etc/plimsoll/plimsoll.toml /root/ && echo 'wrong_key = 1' | cat - /root/plimsoll.toml > /etc/plimsoll/plimsoll.toml");
    assert_ne!(system.ask("systemctl start plimsoll; echo $?"), "0");
    system.wait("failed", |this| this.property("ActiveState") == "failed");
    assert_eq!(system.property("ExecMainStatus"), "64", "{}", system.log());
    assert_eq!(system.property("NRestarts"), "0");
    system.wait_for_log("wrong_key");
    system.run("cp /root/plimsoll.toml /etc/plimsoll/ && systemctl start plimsoll && plimsoll health");

    system.run("dpkg --purge plimsoll");
    assert_eq!(system.ask("ls -d /var/lib/private/plimsoll /var/lib/plimsoll /usr/bin/plimsoll 2> /dev/null"), "");
}
