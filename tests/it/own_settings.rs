//! Settings that contradict each other or that no system can have are found before anything is compiled. The message names
//! the key, and the exit code is 64.

use std::process::Command;

use plimsoll_tests::guests_config;

use crate::process::{BINARY, Process, Setup, text};
use crate::wrapped::{can_run, in_mounts};

/// Asserts that `plimsoll serve` refuses settings before it compiles anything. `head` is the start of the configuration.
fn assert_refused(head: &str, arguments: &[&str], words: &[&str]) {
    let setup = Setup::with(&format!("{head}\n{}", guests_config("tester", "")));
    let config = setup.path("plimsoll.toml");
    let mut process = Process::serve(&[&["--config", &config], arguments].concat());
    let (code, log) = process.wait_for_exit();
    assert_eq!(code, Some(64), "{head} {arguments:?}: {log}");
    for word in words {
        assert!(log.contains(word), "{head} {arguments:?}: {word:?} is missing in {log}");
    }
    // The cache is empty, so everything would be compiled.
    assert!(!log.contains("compiling") && !log.contains("panicked"), "{log}");
}

#[test]
fn an_address_that_is_given_twice_is_found_before_anything_is_compiled() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    let (one, all) = (format!("127.0.0.1:{port}"), format!("0.0.0.0:{port}"));
    let twice = format!("[server]\nlisten = [\"{one}\", \"{one}\"]");
    assert_refused(&twice, &[], &["plimsoll.toml: server.listen: ", &format!("{one} is given twice")]);
    let name = format!("[server]\nlisten = [\"{one}\", \"localhost:{port}\"]");
    assert_refused(&name, &[], &["server.listen: ", "are the same port"]);
    let admin = format!("[server]\nlisten = \"{all}\"\n[admin]\nlisten = \"{one}\"");
    assert_refused(&admin, &[], &["admin.listen: ", &one, &all, "`server.listen`"]);
    let grpc = format!("[server]\ngrpc_listen = \"{one}\"\nlisten = \"{one}\"");
    assert_refused(&grpc, &[], &["server.grpc_listen: ", "`server.listen`"]);
    assert_refused("", &["--listen", &format!("{one},{one}")], &["--listen: ", "is given twice"]);
    assert_refused("", &["--listen", "unix:a.sock,unix:./a.sock"], &["--listen: ", "a.sock"]);
    // Different ports, and free ones, are fine.
    let setup =
        Setup::new("listen = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\ngrpc_listen = \"127.0.0.1:0\"\ndrain = \"0s\"");
    let mut process = Process::serve(&["--config", &setup.path("plimsoll.toml")]);
    process.url();
    process.signal("-TERM");
    assert_eq!(process.wait_for_exit().0, Some(0));
}

#[test]
fn a_limit_with_which_no_request_can_be_answered_is_found_before_anything_is_compiled() {
    for (key, value) in [("max_body", "0"), ("body_timeout", "\"0s\""), ("reply_timeout", "\"0s\"")] {
        assert_refused(&format!("[server]\n{key} = {value}"), &[], &[&format!("server.{key}: must be greater than 0")]);
    }
}

#[test]
fn a_path_that_can_have_no_socket_is_found_before_anything_is_compiled() {
    let long = format!("unix:/tmp/{}", "x".repeat(120));
    assert_refused(&format!("[server]\nlisten = \"{long}\""), &[], &["server.listen: ", "too long", "107 bytes"]);
    let missing = "unix:/nowhere/at/all.sock";
    assert_refused(
        &format!("[admin]\nlisten = \"{missing}\""),
        &["--listen", "127.0.0.1:0"],
        &["admin.listen: ", "/nowhere/at/all.sock", "its folder does not exist"],
    );
    // A folder of this path is a file.
    assert_refused(
        "[server]\nlisten = \"unix:plimsoll.toml/a.sock\"",
        &[],
        &["server.listen: ", "cannot be used as its folder"],
    );
    // A read-only file system, on which not even root can write.
    let setup = Setup::with(&guests_config("tester", ""));
    std::fs::create_dir(setup.path("fixed")).expect("made");
    let wrapper = in_mounts(&format!("mount -t tmpfs -o ro none {}", setup.path("fixed")));
    if !can_run(&wrapper) {
        return;
    }
    let socket = format!("unix:{}", setup.path("fixed/a.sock"));
    let arguments = [BINARY, "serve", "--config", &setup.path("plimsoll.toml"), "--listen", &socket];
    let (code, log) = Process::spawn(Command::new(&wrapper[0]).args(&wrapper[1..]).args(arguments)).wait_for_exit();
    assert_eq!(code, Some(64), "{log}");
    assert!(
        log.contains("server.listen: ") && log.contains("Read-only file system") && !log.contains("compiling"),
        "{log}"
    );
}

#[test]
fn a_file_of_keys_that_cannot_be_used_is_found_before_anything_is_compiled() {
    let folder = plimsoll_tests::TempDir::new().expect("a folder");
    let file = folder.path().join("keys.txt");
    let head = format!("[auth]\nkeys_file = {file:?}");
    let line = format!("acme sha256:{}\n", "0".repeat(64));
    let listen = ["--listen", "127.0.0.1:0"];
    assert_refused(&head, &listen, &["auth.keys_file: ", "keys.txt cannot be read"]);
    // UTF-16, as some editors write it.
    let wide: Vec<u8> = "\u{feff}".encode_utf16().chain(line.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    std::fs::write(&file, wide).expect("written");
    assert_refused(&head, &listen, &["auth.keys_file: ", "keys.txt", "not UTF-8"]);
    std::fs::write(&file, format!("{line}acme\n")).expect("written");
    assert_refused(&head, &listen, &["keys.txt:2: ", "sha256:HASH"]);
    // A byte order mark is not part of a name.
    std::fs::write(&file, format!("\u{feff}{line}")).expect("written");
    let setup = Setup::with(&format!(
        "cache_dir = {:?}\n{head}\n{}",
        plimsoll_tests::shared_cache(),
        guests_config("tester", "")
    ));
    let mut process = setup.serve();
    process.url();
    process.signal("-INT");
    let (code, log) = process.wait_for_exit();
    assert_eq!(code, Some(0), "{log}");
}

/// A process without descriptors says so, whatever it wanted to open.
#[test]
fn too_few_descriptors_end_the_start_with_a_message() {
    if !can_run(&["prlimit", "--nofile=8:8"]) {
        return;
    }
    let setup = Setup::new("drain = \"0s\"");
    let config = setup.path("plimsoll.toml");
    let mut failed = 0;
    for limit in 4..40 {
        let output = Command::new("prlimit")
            .args([&format!("--nofile={limit}:{limit}"), BINARY, "check", "--config", &config])
            .env_remove("RUST_LOG")
            .output()
            .expect("it starts");
        let message = text(&output.stderr);
        assert!(!message.contains("panicked") && !message.contains("/src/"), "{limit} descriptors: {message}");
        if output.status.success() {
            continue;
        }
        failed += 1;
        assert!(
            matches!(output.status.code(), Some(1 | 64 | 127)),
            "{limit} descriptors: {:?} {message}",
            output.status
        );
        // With very few the program loader ends the process.
        let is_named = ["ulimit -n", "oo many open files", "rror while loading shared libraries", "descriptors"];
        assert!(is_named.iter().any(|words| message.contains(words)), "{limit} descriptors: {message}");
    }
    assert!(failed > 0, "four descriptors are not enough");
}
