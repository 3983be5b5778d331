//! For tests: containers of podman.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use plimsoll_tests::TempDir;

use crate::cli::text;

/// Says why this system lets nobody make a container. `.ci/run` sets it after it has tried what a container needs.
const FORBIDDEN: &str = "PLIMSOLL_NO_CONTAINERS";

/// podman with images, containers and settings of its own, which are removed on drop.
pub(crate) struct Podman {
    folder: TempDir,
}

impl Podman {
    /// `None` if podman cannot make containers here; then the reason is printed.
    ///
    /// # Panics
    /// If `CI` is set, unless the variable [`FORBIDDEN`] says that this system lets nobody make a container.
    pub(crate) fn new() -> Option<Self> {
        for (program, package) in [("podman", "podman"), ("runc", "runc"), ("strip", "binutils")] {
            if Command::new(program).arg("--version").output().is_err() {
                plimsoll_tests::skip(&format!("{program} is missing (Debian package {package})"));
                return None;
            }
        }
        let user = std::fs::metadata("/proc/self").expect("a process").uid();
        if user != 0 {
            plimsoll_tests::skip("podman without root is not set up here");
            return None;
        }
        let folder = TempDir::new().expect("a folder");
        let settings = "[containers]\ndefault_ulimits = [\"nofile=20000:20000\", \"nproc=32768:32768\"]\n[engine]\n\
             runtime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n";
        std::fs::write(folder.path().join("containers.conf"), settings).expect("written");
        let this = Self { folder };
        let Some(reason) = this.forbidden() else { return Some(this) };
        match std::env::var(FORBIDDEN) {
            Ok(why) if !why.is_empty() => eprintln!("SKIPPED: {FORBIDDEN} is set ({why}): {reason}"),
            _ => plimsoll_tests::skip(&format!("podman cannot make a container here: {reason}")),
        }
        None
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("podman");
        command.env("CONTAINERS_CONF", self.path("containers.conf")).current_dir(self.folder.path());
        for (option, folder) in [("--root", "store"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
            command.arg(option).arg(self.path(folder));
        }
        command.args(["--storage-driver", "vfs"]);
        command
    }

    pub(crate) fn try_run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().expect("podman starts")
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = self.try_run(arguments);
        assert!(output.status.success(), "podman {arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    }

    /// Why the system does not let podman make a container, whatever its image is.
    fn forbidden(&self) -> Option<String> {
        let folder = self.path("empty");
        std::fs::create_dir_all(&folder).expect("a folder");
        let rootfs = folder.to_str().expect("text");
        let tried = self.try_run(&["run", "--rm", "--network", "host", "--rootfs", rootfs, "/missing"]);
        // 127: the container was made, and has no such program.
        (tried.status.code() != Some(127)).then(|| text(&tried.stderr).trim().to_owned())
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        for arguments in
            [&["pod", "rm", "--all", "--force"][..], &["rm", "--all", "--force"], &["rmi", "--all", "--force"]]
        {
            let _ = self.try_run(arguments);
        }
    }
}
