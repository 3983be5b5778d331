//! The image of `host/deploy/image`, built by podman from the program under test and run as a cluster would run it. That program
//! is built for tests; with `PLIMSOLL_PROGRAM=target/dist/plimsoll` the image has this one, which must fit into the limit.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use plimsoll_tests::data;

use crate::cli::text;
use crate::deploy_files::{helm, render};
use crate::documents::repository;
use crate::drain::Connection;
use crate::haproxy::free_port;
use crate::models::onnxruntime;
use crate::podman::Podman;
use crate::process::{BINARY, PATIENCE};

/// The program for the image, and whether it is the one that is given to others.
fn program() -> (PathBuf, bool) {
    match std::env::var_os("PLIMSOLL_PROGRAM") {
        Some(path) => (repository().join(path), true),
        None => (BINARY.into(), false),
    }
}

/// Builds a target of the file from the program under test: the first stage, which compiles it, is replaced, and so are
/// those in `more`. Returns the size of the program.
fn build(podman: &Podman, target: &str, more: &[(&str, &Path)]) -> u64 {
    let (program, context) = (podman.path("plimsoll"), podman.path("build"));
    // As the first stage does. The debug information of the tests is larger than the program.
    let stripped = Command::new("strip").arg("-o").arg(&program).arg(self::program().0).status().expect("strip");
    assert!(stripped.success());
    std::fs::create_dir(&context).expect("a folder");
    let image = repository().join("host/deploy/image");
    let made = Command::new(image.join("rootfs.sh")).arg(&program).arg(context.join("image")).output().expect("sh");
    assert!(made.status.success(), "{}", text(&made.stderr));
    let (stage, file) = (format!("build={}", context.display()), image.join("Containerfile"));
    let file = file.to_str().expect("text");
    let folder = podman.path("build").to_str().expect("text").to_owned();
    let mut arguments = vec!["build", "--layers=false", "--network", "none", "--build-context", &stage];
    let more: Vec<_> = more.iter().map(|(stage, folder)| format!("{stage}={}", folder.display())).collect();
    more.iter().for_each(|stage| arguments.extend(["--build-context", stage.as_str()]));
    arguments.extend(["--target", target, "--tag", "localhost/plimsoll:0.1.0", "--file", file, &folder]);
    podman.run(&arguments);
    std::fs::metadata(&program).expect("stripped").len()
}

/// The reply to the picture of a seven.
fn ask(address: SocketAddr, chip: &str) -> std::io::Result<String> {
    let picture = std::fs::read(data("digits/7.jpg")).expect("a picture");
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    let head = format!(
        "POST /v1/pipelines/digits/infer?chip={chip} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
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
    expect_a_seven_on(address, "wasm", log);
}

/// As [`expect_a_seven`], on a chip.
fn expect_a_seven_on(address: SocketAddr, chip: &str, log: impl Fn() -> String) {
    let end = Instant::now() + PATIENCE;
    loop {
        match ask(address, chip) {
            Ok(reply) if reply.starts_with("HTTP/1.1 200") && reply.contains("\"label\":\"7\"") => return,
            other => assert!(Instant::now() < end, "{other:?}\n{}", log()),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn status_of(process: &str) -> String {
    std::fs::read_to_string(Path::new("/proc").join(process).join("status")).expect("a process")
}

/// The most bytes of an image, unpacked.
const MOST: u64 = 80_000_000;
/// What the image may have beside the program: the libraries, certificates, and the compiled code of four plugins (18 MB).
const REST: u64 = 24_000_000;

/// Checks what the image consists of. `program` is the size of the program in it.
fn check_image(podman: &Podman, program: u64) {
    let inspect = |format: &str| podman.run(&["image", "inspect", "localhost/plimsoll:0.1.0", "--format", format]);
    assert_eq!(inspect("{{.Config.User}}"), "65532:65532");
    let label = |name: &str| inspect(&format!("{{{{index .Config.Labels \"org.opencontainers.image.{name}\"}}}}"));
    assert_eq!([label("title"), label("licenses")], ["plimsoll", "Apache-2.0"]);
    assert!(label("description").contains("inference"), "{}", label("description"));
    let size: u64 = inspect("{{.Size}}").parse().expect("a number");
    let rest = size.checked_sub(program).expect("the program is in the image");
    println!("image: {size} bytes, of which the program of this build has {program}, and all else {rest}");
    assert!(rest <= REST, "the image has {rest} bytes beside the program");
    if self::program().1 {
        assert!(size <= MOST, "the image has {size} bytes");
    }
    let pushed = podman.path("pushed");
    podman.run(&["push", "--compress", "localhost/plimsoll:0.1.0", &format!("dir:{}", pushed.display())]);
    let files = std::fs::read_dir(pushed)
        .expect("a folder")
        .map(|file| file.expect("a file").metadata().expect("a size").len());
    let transferred: u64 = files.sum();
    println!("image: {transferred} bytes are transferred");
    assert!(transferred <= MOST && transferred < size, "{transferred} bytes are transferred");
    let folder = podman.path("files");
    let folder = folder.to_str().expect("text");
    let container = podman.run(&["create", "localhost/plimsoll:0.1.0"]);
    podman.run(&["cp", &format!("{container}:/etc/ssl/certs/ca-certificates.crt"), folder]);
    podman.run(&["rm", &container]);
    let certificates = std::fs::read_to_string(folder).expect("text");
    assert!(certificates.matches("BEGIN CERTIFICATE").count() > 50, "{} bytes", certificates.len());
}

#[test]
fn the_image_runs_with_a_read_only_root_without_privileges_and_in_a_pod() {
    let Some(podman) = Podman::new() else { return };
    let program = build(&podman, "plimsoll", &[]);
    check_image(&podman, program);

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
    let started = Instant::now();
    podman.run(&["start", "alone"]);
    expect_a_seven(([127, 0, 0, 1], port).into(), log);
    // A figure for the documents. How fast this machine is at this moment decides nothing.
    let ready =
        log().split("ready_ms=").skip(1).filter_map(|rest| rest.split_whitespace().next().map(str::to_owned)).last();
    println!(
        "warm start with a read-only root: ready after {ready:?} ms, answered {:?} after `podman start`",
        started.elapsed()
    );
    assert!(!log().contains("compiling"), "{}", log());
    podman.run(&["rm", "--force", "--time", "10", "alone"]);

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

/// The second target has ONNX Runtime, which a model uses.
#[test]
fn the_image_with_onnx_runtime_runs_a_model_with_it() {
    let Some(library) = onnxruntime() else { return };
    let Some(podman) = Podman::new() else { return };
    // As the stage `runtime-library`, which installs the wheel.
    let context = podman.path("library");
    let place = context.join("image/usr/lib/plimsoll");
    std::fs::create_dir_all(&place).expect("a folder");
    std::fs::copy(&library, place.join("libonnxruntime.so")).expect("copied");
    let needed = text(&Command::new("ldd").arg(&library).output().expect("ldd").stdout);
    for needed in needed.lines().filter_map(|line| line.split_once(" => ")?.1.split_whitespace().next()) {
        let copy = context.join("image").join(needed.trim_start_matches('/'));
        std::fs::create_dir_all(copy.parent().expect("a folder")).expect("a folder");
        std::fs::copy(needed, copy).expect("copied");
    }
    build(&podman, "onnxruntime", &[("runtime-library", &context)]);

    let config = podman.path("plimsoll.toml");
    let text_of = std::fs::read_to_string(repository().join("host/deploy/plimsoll.toml")).expect("text");
    let changed = text_of.replace("bundled:digits.onnx\"", "bundled:digits.onnx\"\nbackend = \"onnxruntime\"");
    assert_ne!(changed, text_of);
    std::fs::write(&config, changed).expect("written");
    let port = free_port();
    let (listen, volume) =
        (format!("PLIMSOLL_LISTEN=127.0.0.1:{port}"), format!("{}:/etc/plimsoll/plimsoll.toml:ro", config.display()));
    podman.run(&[
        "run",
        "--detach",
        "--name",
        "second",
        "--network",
        "host",
        "--read-only",
        "--cap-drop",
        "all",
        "--volume",
        &volume,
        "--env",
        &listen,
        "localhost/plimsoll:0.1.0",
    ]);
    let log = || {
        let logs = podman.try_run(&["logs", "second"]);
        text(&logs.stdout) + &text(&logs.stderr)
    };
    expect_a_seven_on(([127, 0, 0, 1], port).into(), "native", log);
    let models = Connection::open(&format!("http://127.0.0.1:{port}")).try_request("GET", "/v1/models");
    let models = models.expect("a reply").body;
    assert!(models.contains("\"backend\":\"onnxruntime\""), "{models}");
}
