//! The image of `host/deploy/image`, built by podman from the program under test and run as a cluster would run it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use plimsoll_tests::{TempDir, data};

use crate::cli::text;
use crate::deploy_files::{helm, render};
use crate::documents::repository;
use crate::process::{BINARY, PATIENCE};

/// podman with images, containers and settings of its own, which are removed on drop.
struct Podman {
    folder: TempDir,
}

impl Podman {
    /// `None` if podman cannot be used here; then the reason is printed.
    fn new() -> Option<Self> {
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
        Some(Self { folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("podman");
        command.env("CONTAINERS_CONF", self.path("containers.conf")).current_dir(self.folder.path());
        for (option, folder) in [("--root", "store"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
            command.arg(option).arg(self.path(folder));
        }
        command.args(["--storage-driver", "vfs"]);
        command
    }

    fn try_run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().expect("podman starts")
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.try_run(arguments);
        assert!(output.status.success(), "podman {arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    }

    /// Why the system does not let podman make a container, whatever its image is. A container of this project cannot mend
    /// that, so it is not a failure, not even in CI.
    fn forbidden(&self) -> Option<String> {
        let folder = self.path("empty");
        std::fs::create_dir_all(&folder).expect("a folder");
        let rootfs = folder.to_str().expect("text");
        let tried = self.try_run(&["run", "--rm", "--network", "host", "--rootfs", rootfs, "/missing"]);
        // 127: the container was made, and has no such program.
        (tried.status.code() != Some(127)).then(|| text(&tried.stderr).trim().to_owned())
    }

    /// Builds the image from the program under test: the first stage of the file, which compiles it, is replaced.
    fn build(&self) {
        let (program, context) = (self.path("plimsoll"), self.path("build"));
        // As the first stage does. The debug information of the tests is larger than the program.
        let stripped = Command::new("strip").arg("-o").arg(&program).arg(BINARY).status().expect("strip");
        assert!(stripped.success());
        std::fs::create_dir(&context).expect("a folder");
        let image = repository().join("host/deploy/image");
        let made = Command::new(image.join("rootfs.sh")).arg(&program).arg(context.join("image")).output().expect("sh");
        assert!(made.status.success(), "{}", text(&made.stderr));
        let (stage, file) = (format!("build={}", context.display()), image.join("Containerfile"));
        let file = file.to_str().expect("text");
        let folder = self.path("build").to_str().expect("text").to_owned();
        self.run(&[
            "build",
            "--layers=false",
            "--network",
            "none",
            "--build-context",
            &stage,
            "--target",
            "plimsoll",
            "--tag",
            "localhost/plimsoll:0.1.0",
            "--file",
            file,
            &folder,
        ]);
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

/// The reply to the picture of a seven.
fn ask(address: SocketAddr) -> std::io::Result<String> {
    let picture = std::fs::read(data("digits/7.jpg")).expect("a picture");
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    let head = format!(
        "POST /v1/pipelines/digits/infer?chip=wasm HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        picture.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&picture)?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    Ok(reply)
}

/// Waits until the server answers, and checks that it reads the seven.
fn expect_a_seven(address: SocketAddr, log: impl Fn() -> String) {
    let end = Instant::now() + PATIENCE;
    loop {
        match ask(address) {
            Ok(reply) if reply.starts_with("HTTP/1.1 200") && reply.contains("\"label\":\"7\"") => return,
            other => assert!(Instant::now() < end, "{other:?}\n{}", log()),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").expect("free").local_addr().expect("bound").port()
}

fn status_of(process: &str) -> String {
    std::fs::read_to_string(Path::new("/proc").join(process).join("status")).expect("a process")
}

#[test]
fn the_image_runs_with_a_read_only_root_without_privileges_and_in_a_pod() {
    let Some(podman) = Podman::new() else { return };
    if let Some(reason) = podman.forbidden() {
        return eprintln!("SKIPPED: podman cannot make a container here: {reason}");
    }
    podman.build();
    let inspected =
        podman.run(&["image", "inspect", "localhost/plimsoll:0.1.0", "--format", "{{.Config.User}} {{.Size}}"]);
    println!("image: {inspected}");
    assert!(inspected.starts_with("65532:65532 "), "{inspected}");

    let port = free_port();
    let listen = format!("PLIMSOLL_LISTEN=127.0.0.1:{port}");
    podman.run(&[
        "run",
        "--detach",
        "--name",
        "alone",
        "--network",
        "host",
        "--read-only",
        "--read-only-tmpfs=false",
        "--cap-drop",
        "all",
        "--security-opt",
        "no-new-privileges",
        "--memory",
        "512m",
        "--env",
        &listen,
        "localhost/plimsoll:0.1.0",
    ]);
    let log = || {
        let logs = podman.try_run(&["logs", "alone"]);
        text(&logs.stdout) + &text(&logs.stderr)
    };
    expect_a_seven(([127, 0, 0, 1], port).into(), log);
    let server = format!("http://127.0.0.1:{port}");
    podman.run(&["exec", "alone", "/usr/bin/plimsoll", "health", "--server", &server]);
    assert!(!log().contains("compiling"), "the code was compiled when the image was made: {}", log());
    let status = status_of(&podman.run(&["inspect", "alone", "--format", "{{.State.Pid}}"]));
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).expect("a line").trim().to_owned();
    assert!(line("Uid:").starts_with("65532"), "{status}");
    assert_eq!((line("CapEff:").trim_matches('0'), line("NoNewPrivs:").as_str()), ("", "1"), "{status}");
    podman.run(&["stop", "--time", "45", "alone"]);
    let ended = podman.run(&["inspect", "alone", "--format", "{{.State.ExitCode}}"]);
    assert_eq!(ended, "0", "{}", log());
    assert!(log().contains("stopped"), "{}", log());

    // The chart's Deployment with one replica.
    let Some(helm) = helm() else { return };
    let has_iptables = ["/usr/sbin/iptables", "/sbin/iptables"].iter().any(|path| Path::new(path).exists());
    if !has_iptables {
        return plimsoll_tests::skip("iptables is missing (Debian package iptables)");
    }
    let rendered = text(&render(&helm, "replicas: 1\npodDisruptionBudget: { enabled: false }").stdout);
    let deployment = rendered.split("\n---\n").find(|part| part.contains("kind: Deployment")).expect("a Deployment");
    let manifest = podman.path("pod.yaml");
    std::fs::write(&manifest, deployment).expect("written");
    // podman would look for a folder with the name of the image.
    std::fs::rename(podman.path("plimsoll"), podman.path("program")).expect("renamed");
    let manifest = manifest.to_str().expect("text");
    podman.run(&["kube", "play", manifest]);
    let names = podman.run(&["ps", "--all", "--format", "{{.Names}}"]);
    let container = names.lines().find(|name| name.contains("pod-0-plimsoll")).expect("a container").to_owned();
    let infra = names.lines().find(|name| name.ends_with("-infra")).expect("the container of the pod").to_owned();
    let networks = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let address = podman.run(&["inspect", &infra, "--format", networks]);
    expect_a_seven(format!("{address}:8080").parse().expect("an address"), || {
        let logs = podman.try_run(&["logs", &container]);
        text(&logs.stdout) + &text(&logs.stderr)
    });
    let rights = "{{.HostConfig.ReadonlyRootfs}} {{.Config.User}} {{.EffectiveCaps}}";
    assert_eq!(podman.run(&["inspect", &container, "--format", rights]), "true 65532:65532 []");
    podman.run(&["kube", "down", manifest]);
}
