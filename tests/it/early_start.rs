//! The start of a server: signals are handled from the first moment, and addresses are reserved before the long part of
//! the start.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use plimsoll_tests::{TempDir, guests_config, shared_cache};

use crate::process::BINARY;
use crate::served_folder::command;
use crate::stalled_files::stalled_mount;
use crate::wrapped::{can_run, is_root};

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);
/// The bit of SIGHUP in the masks of `/proc/PID/status`.
const HANGUP: u64 = 1;

/// A process of `plimsoll serve` whose log is a file. It is killed on drop.
struct Started {
    child: Child,
    folder: TempDir,
}

impl Started {
    fn serve(config: &str, listen: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        fs::write(folder.path().join("plimsoll.toml"), config).expect("written");
        let log = File::create(folder.path().join("log")).expect("created");
        let mut command = command(folder.path());
        command.args(["serve", "--config", "plimsoll.toml", "--listen", listen]);
        let child = command.stdout(Stdio::null()).stderr(log).spawn().expect("the binary starts");
        Self { child, folder }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("a log")
    }

    /// Whether the process catches SIGHUP, and whether it has more than one thread, both at the same moment.
    fn state(&self) -> (bool, bool) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let value = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            line.unwrap_or_default().trim().to_owned()
        };
        let caught = u64::from_str_radix(&value("SigCgt"), 16).unwrap_or(0);
        (caught & HANGUP != 0, value("Threads").parse::<u32>().is_ok_and(|threads| threads > 1))
    }

    fn wait_for(&self, words: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.log().contains(words) {
            assert!(Instant::now() < end, "no {words:?} in the log: {}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn exit_code(&mut self) -> Option<i32> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(Instant::now() < end, "the process does not exit: {}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn quick() -> String {
    format!("cache_dir = {:?}\n{}", shared_cache(), guests_config("tester", ""))
}

/// A start that does not end by itself: an empty cache, and a plugin whose `init` runs for a long time.
fn endless() -> String {
    guests_config("init-loops", "").replace("[plugins.init-loops]\n", "[plugins.init-loops]\ninit_deadline = \"10m\"\n")
}

#[test]
fn a_hangup_in_the_first_milliseconds_does_not_end_the_server() {
    for _ in 0..10 {
        let mut started = Started::serve(&quick(), "127.0.0.1:0");
        let end = Instant::now() + PATIENCE;
        // Threads begin after the handlers.
        while !started.log().contains("listening on") {
            let (catches, has_threads) = started.state();
            assert!(catches || !has_threads, "the process has threads, and a hangup would end it");
            if catches {
                let sent = Command::new("kill").args(["-HUP", &started.child.id().to_string()]).status();
                assert!(sent.expect("kill starts").success());
            }
            let ended = started.child.try_wait().expect("a child");
            assert!(ended.is_none() && Instant::now() < end, "{ended:?}: {}", started.log());
        }
    }
}

#[test]
fn sighup_ends_a_command_that_is_not_a_server() {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("plimsoll.toml"), endless()).expect("written");
    let mut check = command(folder.path());
    let log = File::create(folder.path().join("log")).expect("created");
    let child = check.args(["check", "--config", "plimsoll.toml"]).stdout(Stdio::null()).stderr(log).spawn();
    let mut started = Started { child: child.expect("the binary starts"), folder };
    started.wait_for("compiling init-loops");
    let sent = Command::new("kill").args(["-HUP", &started.child.id().to_string()]).status();
    assert!(sent.expect("kill starts").success());
    assert_eq!(started.exit_code(), None, "it was ended by the signal");
}

/// The configuration is on a file system that does not answer.
#[test]
fn a_signal_ends_a_server_that_waits_for_its_configuration() {
    for signal in ["-TERM", "-INT"] {
        let folder = TempDir::new().expect("a folder");
        let Some(mounts) = stalled_mount(&folder.path().join("stalled")) else { return };
        let log = File::create(folder.path().join("log")).expect("created");
        let mut serve = Command::new(&mounts[0]);
        serve.current_dir(folder.path()).env_remove("RUST_LOG").args(&mounts[1..]).arg(BINARY);
        serve.args(["serve", "--config", "stalled/plimsoll.toml", "--listen", "127.0.0.1:0"]);
        let child = serve.stdout(Stdio::null()).stderr(log).spawn().expect("the binary starts");
        let mut started = Started { child, folder };
        let end = Instant::now() + PATIENCE;
        while !started.state().0 {
            assert!(Instant::now() < end, "no handlers");
        }
        std::thread::sleep(Duration::from_millis(100));
        let sent = Command::new("kill").args([signal, &started.child.id().to_string()]).status();
        assert!(sent.expect("kill starts").success());
        assert_eq!(started.exit_code(), Some(0), "{}", started.log());
    }
}

#[test]
fn a_port_in_use_ends_the_start_before_anything_is_compiled() {
    let used = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = used.local_addr().expect("bound").to_string();
    let mut started = Started::serve(&endless(), &address);
    assert_eq!(started.exit_code(), Some(1));
    let log = started.log();
    assert!(log.contains("another process uses port") && log.contains("`server.listen`"), "{log}");
    assert!(!log.contains("compiling"), "{log}");
    for (table, key) in [("server", "grpc_listen"), ("admin", "listen")] {
        let mut started = Started::serve(&format!("[{table}]\n{key} = \"{address}\"\n{}", endless()), "127.0.0.1:0");
        assert_eq!(started.exit_code(), Some(1));
        assert!(started.log().contains(&format!("`{table}.{key}`")), "{}", started.log());
    }
}

#[test]
fn a_server_accepts_no_connection_before_its_start_is_complete() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("bound");
    drop(free);
    let started = Started::serve(&endless(), &address.to_string());
    started.wait_for("compiling init-loops");
    let refused = TcpStream::connect(address).expect_err("no connection");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn the_limit_of_descriptors_is_raised() {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("plimsoll.toml"), quick()).expect("written");
    let log = File::create(folder.path().join("log")).expect("created");
    let binary = command(folder.path()).get_program().to_owned();
    let script = "ulimit -Sn 256; ulimit -Hn 3000; exec \"$0\" serve --config plimsoll.toml --listen 127.0.0.1:0";
    let mut shell = Command::new("sh");
    shell.current_dir(folder.path()).args(["-c", script]).arg(binary);
    let child = shell.env_remove("RUST_LOG").stdout(Stdio::null()).stderr(log).spawn().expect("sh starts");
    let started = Started { child, folder };
    started.wait_for("listening on");
    let limits = fs::read_to_string(format!("/proc/{}/limits", started.child.id())).expect("limits");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    let words: Vec<_> = files.split_whitespace().collect();
    assert_eq!(words[3..5], ["3000", "3000"], "{files}");
}

/// Instances reserve much more address space than they use.
#[test]
fn a_limit_of_the_address_space_is_named() {
    for kilobytes in ["600000", "4000000"] {
        let folder = TempDir::new().expect("a folder");
        fs::write(folder.path().join("plimsoll.toml"), quick()).expect("written");
        let log = File::create(folder.path().join("log")).expect("created");
        let binary = command(folder.path()).get_program().to_owned();
        let script = format!("ulimit -v {kilobytes}; exec \"$0\" serve --config plimsoll.toml --listen 127.0.0.1:0");
        let mut shell = Command::new("sh");
        shell.current_dir(folder.path()).args(["-c", &script]).arg(binary);
        let child = shell.env_remove("RUST_LOG").stdout(Stdio::null()).stderr(log).spawn().expect("sh starts");
        let mut started = Started { child, folder };
        assert_eq!(started.exit_code(), Some(64), "{}", started.log());
        let log = started.log();
        assert!(log.contains("`ulimit -v`") && log.contains("remove this limit"), "{log}");
        assert!(!log.contains("panicked") && !log.contains("the plugin crashed"), "{log}");
    }
}

/// Starts the server by a program that sets a limit, waits for its end, and returns exit code and log.
fn start_with(wrapper: &[&str], config: &str) -> (Option<i32>, String) {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("plimsoll.toml"), config).expect("written");
    let log = File::create(folder.path().join("log")).expect("created");
    let binary = command(folder.path()).get_program().to_owned();
    let mut command = Command::new(wrapper[0]);
    command.current_dir(folder.path()).args(&wrapper[1..]).arg(binary);
    command.args(["serve", "--config", "plimsoll.toml", "--listen", "127.0.0.1:0"]).env_remove("RUST_LOG");
    let child = command.stdout(Stdio::null()).stderr(log).spawn().expect("the program starts");
    let mut started = Started { child, folder };
    (started.exit_code(), started.log())
}

/// The initial memory of a plugin is in a file without a name.
#[test]
fn a_limit_of_file_sizes_is_named_and_is_not_a_fault_of_the_plugin() {
    let limited = ["prlimit", "--fsize=4096"];
    if !can_run(&limited) {
        return;
    }
    // The compiled code of the shared cache would be used in place of that file.
    let (code, log) = start_with(&limited, &guests_config("tester", ""));
    assert_eq!(code, Some(64), "{log}");
    assert!(log.contains("an instance cannot start") && log.contains("`ulimit -f`"), "{log}");
    assert!(!log.contains("crashed") && !log.contains("max_memory"), "{log}");
}

/// The async runtime panics if it cannot start its threads. Not for root, whom the kernel does not limit.
#[test]
fn a_limit_of_threads_is_named() {
    let user = ["setpriv", "--reuid=65533", "--regid=65533", "--clear-groups"];
    let binary = command(std::path::Path::new(".")).get_program().to_str().expect("text").to_owned();
    if is_root() && !can_run(&[&user[..], &[&binary, "--version"]].concat()) {
        return;
    }
    for limit in ["--nproc=1", "--nproc=2", "--nproc=3", "--nproc=5"] {
        let limited: Vec<_> = if is_root() { user.to_vec() } else { Vec::new() };
        let (code, log) = start_with(&[&limited[..], &["prlimit", limit]].concat(), &quick());
        assert_eq!(code, Some(1), "{limit}: {log}");
        assert!(log.contains("`ulimit -u`") && !log.contains("panicked"), "{limit}: {log}");
    }
}

#[test]
fn a_small_stack_is_named() {
    let limited = ["prlimit", "--stack=200000"];
    if can_run(&limited) {
        let (code, log) = start_with(&limited, &quick());
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains("`ulimit -s`"), "{log}");
    }
}

/// At the edge of the address space no thread can be started.
#[test]
fn a_small_address_space_ends_the_start_without_a_panic() {
    let limited = ["prlimit", "--as=30000000000"];
    if !can_run(&limited) {
        return;
    }
    let mut has_started = false;
    for megabytes in (90..330).step_by(2) {
        let limit = format!("--as={megabytes}000000");
        let (code, log) = start_with(&["prlimit", &limit], &quick());
        assert_ne!(code, Some(0), "{limit}: {log}");
        assert!(!log.contains("panicked"), "{limit}: {log}");
        // Below this the dynamic linker ends the process.
        if log.contains("plimsoll: ") {
            has_started = true;
            assert!(log.contains("`ulimit -v`"), "{limit}: {log}");
        } else {
            assert!(!has_started, "{limit}: no message: {log}");
        }
    }
    assert!(has_started);
}
