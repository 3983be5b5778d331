//! Start and stop of the real binary: signals in the start, what the start says, sockets, `plimsoll health`, and
//! machines without CA certificates.

use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use plimsoll_tests::{TempDir, guests_config};

use crate::process::{BINARY, PATIENCE, Process, Setup, get_over, run_without_certificates, send_signal, text};
use crate::wrapped::can_run;

/// A setup whose start does not end by itself: an empty cache, and a plugin whose `init` runs for a long time.
fn endless_start() -> Setup {
    let folder = TempDir::new().expect("a folder");
    let config = guests_config("init-loops", "")
        .replace("[plugins.init-loops]\n", "[plugins.init-loops]\ninit_deadline = \"10m\"\n");
    std::fs::write(folder.path().join("plimsoll.toml"), config).expect("written");
    Setup { folder }
}

#[test]
fn a_signal_in_the_start_ends_the_process_at_once() {
    let setup = endless_start();
    for signal in ["-TERM", "-INT"] {
        let mut process = setup.serve();
        process.wait_for("compiling init-loops (1 of 3) …");
        // Before the start is complete, SIGHUP has no effect: it must not end the process.
        process.signal("-HUP");
        process.signal(signal);
        let (code, log) = process.wait_for_exit();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("before the start was complete") && !log.contains("listening on"), "{log}");
    }
}

#[test]
fn a_signal_ends_a_start_also_as_the_first_process_of_a_container() {
    if !can_run(&["unshare", "--pid", "--fork"]) {
        return;
    }
    let setup = endless_start();
    let mut process = Process::spawn(
        Command::new("unshare")
            .args(["--pid", "--fork", "--kill-child", BINARY, "serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(setup.path("plimsoll.toml")),
    );
    process.wait_for("compiling init-loops");
    let parent = process.child.id();
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).expect("a list");
    let first = children.split_whitespace().next().expect("one child").parse().expect("a number");
    send_signal(first, "-TERM");
    let (code, log) = process.wait_for_exit();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("before the start was complete"), "{log}");
}

#[test]
fn a_cold_start_says_what_it_compiles_and_a_warm_one_compiles_nothing() {
    let setup = Setup::with(&guests_config("tester", ""));
    for is_cold in [true, false] {
        let mut process = setup.serve();
        process.url();
        process.signal("-INT");
        let (code, log) = process.wait_for_exit();
        assert_eq!(code, Some(0), "{log}");
        for (at, plugin) in ["tester", "echo-infer", "echo-postprocess"].into_iter().enumerate() {
            let line = format!("compiling {plugin} ({} of 3) …", at + 1);
            assert_eq!(log.matches(&line).count(), usize::from(is_cold), "{line:?} in {log}");
        }
        assert_eq!(log.contains("compiling"), is_cold, "{log}");
    }
}

#[test]
fn health_says_by_its_exit_code_whether_a_server_is_ready() {
    let setup = Setup::new("drain = \"10m\"");
    let mut process = setup.serve();
    let url = process.url();
    let health = |arguments: &[&str]| {
        let output = run_without_certificates(&[&["health", "--server", &url], arguments].concat());
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    assert_eq!(health(&[]), (Some(0), "ready\n".to_owned()));
    assert_eq!(health(&["--live"]), (Some(0), "live\n".to_owned()));
    process.signal("-TERM");
    process.wait_for("draining");
    let (code, message) = health(&[]);
    assert_eq!(code, Some(1));
    assert!(message.contains("is not ready: the server is about to stop"), "{message}");
    assert_eq!(health(&["--live"]).0, Some(0));
    process.signal("-TERM");
    assert_eq!(process.wait_for_exit().0, Some(0));
    let (code, message) = health(&[]);
    assert_eq!(code, Some(1));
    assert!(message.contains(&url) && message.contains("--server"), "{message}");
    // Another program on the port.
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("{}", other.local_addr().expect("bound"));
    let answer = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().expect("a connection");
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
    });
    let output = run_without_certificates(&["health", "--server", &address]);
    answer.join().expect("no panic");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("replied with 200"), "{}", text(&output.stderr));
}

#[test]
fn http_needs_no_ca_certificates_and_https_says_that_it_does() {
    let setup = Setup::new("");
    let process = setup.serve();
    let url = process.url();
    for arguments in [["plugin", "list"].as_slice(), &["top", "--once"], &["health"]] {
        let output = run_without_certificates(&[arguments, &["--server", &url]].concat());
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        let output = run_without_certificates(&[arguments, &["--server", "https://127.0.0.1:1"]].concat());
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
        assert!(message.contains("CA certificates") && message.contains("SSL_CERT_FILE"), "{message}");
        assert!(!message.contains("panicked"), "{message}");
    }
}

#[test]
fn a_name_is_resolved_and_several_addresses_are_served() {
    let setup = Setup::new("");
    let socket = setup.path("second.sock");
    let process = setup.serve_on(&format!("localhost:0,unix:{socket}"));
    let url = process.url();
    assert!(url.starts_with("http://127.0.0.1:") || url.starts_with("http://[::1]:"), "{url}");
    process.wait_for(&format!("listening on unix:{socket}"));
    assert!(get_over(Path::new(&socket), "/v2/health/ready").starts_with("HTTP/1.1 200"));
    let port = url.rsplit_once(':').expect("a port").1;
    let output = run_without_certificates(&["health", "--server", &format!("localhost:{port}")]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));

    let other = Setup::new("");
    let mut second = other.serve_on(&format!("127.0.0.1:{port}"));
    let (code, log) = second.wait_for_exit();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains(&format!("cannot listen on 127.0.0.1:{port}")) && log.contains("--listen"), "{log}");
}

#[test]
fn an_invalid_address_is_explained() {
    for (address, words) in [
        ("8080", "has no port"),
        ("127.0.0.1:99999", "from 0 to 65535"),
        ("127.0.0.1:+80", "from 0 to 65535"),
        ("127.0.0.1:", "from 0 to 65535"),
        ("::1:8080", "needs brackets"),
        (":8080", "has no host"),
        ("http://127.0.0.1:8080", "is not an address"),
        ("unix:", "has no path"),
    ] {
        let setup = Setup::new(&format!("listen = {address:?}"));
        let mut process = Process::serve(&["--config", &setup.path("plimsoll.toml")]);
        let (code, log) = process.wait_for_exit();
        assert_eq!(code, Some(64), "{log}");
        assert!(log.contains("listen") && log.contains(words), "{address}: {log}");
        let mut process = setup.serve_on(address);
        let (code, log) = process.wait_for_exit();
        assert_eq!(code, Some(2), "{log}");
        assert!(log.contains(words), "{address}: {log}");
    }
}

#[test]
fn a_unix_socket_is_served_and_removed_and_one_of_a_dead_process_is_replaced() {
    // The path is relative to the file.
    let setup = Setup::new("listen = \"unix:plimsoll.sock\"\ndrain = \"0s\"");
    let config = setup.path("plimsoll.toml");
    let socket = PathBuf::from(setup.path("plimsoll.sock"));
    let start = || Process::serve(&["--config", &config]);
    let is_ready = || get_over(&socket, "/v2/health/ready").starts_with("HTTP/1.1 200");
    let mut process = start();
    process.wait_for("listening on unix:");
    assert!(is_ready());
    let file = std::fs::symlink_metadata(&socket).expect("a file");
    assert!(file.file_type().is_socket());
    assert_eq!(file.permissions().mode() & 0o777, 0o660);
    let server = format!("unix:{}", socket.display());
    for arguments in [["health"].as_slice(), &["plugin", "list"], &["top", "--once"]] {
        let output = run_without_certificates(&[arguments, &["--server", &server]].concat());
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    }

    // A second process with its own data folder.
    let mut second = Process::serve(&["--config", &config, "--data-dir", &setup.path("second")]);
    let (code, log) = second.wait_for_exit();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("plimsoll.sock") && log.contains("another process listens there"), "{log}");
    assert!(is_ready(), "the second process left the socket of the first alone");

    process.signal("-KILL");
    assert_eq!(process.wait_for_exit().0, None);
    assert!(socket.exists(), "a killed process cannot remove its socket");
    let mut process = start();
    process.wait_for("listening on unix:");
    assert!(is_ready());
    process.signal("-TERM");
    assert_eq!(process.wait_for_exit().0, Some(0));
    assert!(!socket.exists());

    std::fs::write(&socket, "a file of the user").expect("written");
    let (code, log) = start().wait_for_exit();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("is not a socket"), "{log}");
    assert!(socket.exists());
}

#[test]
fn the_data_folder_can_be_named_on_the_command_line() {
    let setup = Setup::with(&guests_config("tester", ""));
    let data = setup.path("data");
    let mut process =
        Process::serve(&["--config", &setup.path("plimsoll.toml"), "--listen", "127.0.0.1:0", "--data-dir", &data]);
    process.url();
    process.signal("-INT");
    assert_eq!(process.wait_for_exit().0, Some(0));
    assert!(Path::new(&data).join("cache").is_dir());
    assert!(!Path::new(&setup.path(".plimsoll")).exists());
}

#[test]
fn a_reload_that_changes_the_server_says_that_it_waits_for_the_next_start() {
    let setup = Setup::new("drain = \"0s\"");
    let mut process = setup.serve();
    process.url();
    let config = std::fs::read_to_string(setup.path("plimsoll.toml")).expect("text");
    let change = |drain: &str| {
        std::fs::write(setup.path("plimsoll.toml"), config.replace("drain = \"0s\"", drain)).expect("written");
    };
    change("drain = \"1s\"\nmax_queue = 7");
    let log = process.wait_for("reload");
    let waits = "the change to `[server]` takes effect at the next start";
    assert!(log.contains(waits), "{log}");
    // After another reload the change still waits for the next start.
    process.signal("-HUP");
    let end = Instant::now() + PATIENCE;
    while process.wait_for(waits).matches(waits).count() < 2 {
        assert!(Instant::now() < end, "the second reload does not log the pending change");
        std::thread::sleep(Duration::from_millis(20));
    }
    process.signal("-TERM");
    let (code, log) = process.wait_for_exit();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("draining"), "the old drain time applies: {log}");
}
