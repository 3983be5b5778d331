//! The real binary: exit codes, messages, a request without a server, and a clean stop on a signal.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use plimsoll_tests::{TempDir, data, guest, guests_config};

const BINARY: &str = env!("CARGO_BIN_EXE_plimsoll-under-test");

pub(crate) fn run(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).env_remove("RUST_LOG").output().expect("the binary starts")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A process of the real binary that serves on a free port. It is killed on drop.
pub(crate) struct Served {
    child: Child,
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    log: std::thread::JoinHandle<String>,
}

impl Served {
    pub(crate) fn start(config: &Path) -> Self {
        Self::start_in(Path::new("."), config)
    }

    /// Starts the binary with `folder` as its working directory.
    pub(crate) fn start_in(folder: &Path, config: &Path) -> Self {
        let mut command = Command::new(BINARY);
        command.current_dir(folder).args(["--log", "json", "serve", "--listen", "127.0.0.1:0", "--config"]);
        Self::spawn(command.arg(config))
    }

    /// Starts a server that logs in JSON, and waits until it listens.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.env_remove("RUST_LOG").stderr(Stdio::piped()).spawn().expect("the binary starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped"));
        let mut log = String::new();
        let url = loop {
            let mut line = String::new();
            assert_ne!(lines.read_line(&mut line).expect("text"), 0, "the process ended before it listened: {log}");
            log.push_str(&line);
            if let Some(at) = line.find("http://") {
                break line[at..].split('"').next().expect("an address").to_owned();
            }
        };
        let log = std::thread::spawn(move || {
            let _ = lines.read_to_string(&mut log);
            log
        });
        Self { child, url, log }
    }

    /// Sends SIGTERM with the program `kill`.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().expect("kill");
        assert!(status.success());
    }

    /// Waits until the process exits. Returns the exit code and the log.
    pub(crate) fn wait_for_exit(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().expect("a child");
        let log = std::mem::replace(&mut self.log, std::thread::spawn(String::new));
        (status.code(), log.join().expect("no panic"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn messages_about_wrong_arguments_say_what_to_do() {
    let output = run(&["infer"]);
    assert_eq!(output.status.code(), Some(2));
    let message = text(&output.stderr);
    assert!(message.contains("<PIPELINE>") && message.contains("--help"), "{message}");
    let output = run(&["infer", "digits", "/no/such/file.png"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/no/such/file.png cannot be read"), "{}", text(&output.stderr));
}

#[test]
fn an_invalid_configuration_exits_with_64_and_names_the_key() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("plimsoll.toml");
    std::fs::write(&file, guests_config("tester", "max_memroy = \"1MiB\"")).expect("written");
    for command in ["serve", "check"] {
        let output = run(&[command, "--config", file.to_str().expect("text")]);
        assert_eq!(output.status.code(), Some(64), "{}", text(&output.stderr));
        let message = text(&output.stderr);
        assert!(message.contains("plimsoll.toml") && message.contains("max_memroy"), "{message}");
    }
    let output = run(&["check", "--config", "/no/such/plimsoll.toml"]);
    assert_eq!(output.status.code(), Some(64));
}

#[test]
fn check_and_infer_work_without_a_server() {
    let output = run(&["check"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("pipeline digits"), "{}", text(&output.stdout));

    let picture = data("digits/7.jpg");
    let output = run(&["infer", "digits", picture.to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    assert!(stdout.contains(r#""label":"7""#) && stdout.contains("high water"), "{stdout}");
    for stage in ["preprocess", "infer", "postprocess"] {
        assert!(stdout.lines().any(|line| line.starts_with(stage)), "{stdout}");
    }
}

#[test]
fn inspect_names_kind_imports_and_exports() {
    let output = run(&["inspect", guest("init-big").to_str().expect("text")]);
    let stdout = text(&output.stdout);
    for word in ["kind      preprocess", "init      yes", "plimsoll:stage/preprocess@0.1.0", "wasi:nn/tensor"] {
        assert!(stdout.contains(word), "{word:?} is missing in {stdout}");
    }
    let output = run(&["inspect", data("digits/7.jpg").to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is not a component"), "{}", text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_request_finishes_after_sigterm_and_the_log_names_plugin_and_request() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("plimsoll.toml");
    std::fs::write(&file, guests_config("tester", "")).expect("written");
    let served = Served::start(&file);
    let client = reqwest::Client::new();
    let post = |query: &str, id: &'static str| {
        client.post(format!("{}/v1/pipelines/p/infer{query}", served.url)).header("x-request-id", id).send()
    };
    assert_eq!(post("?do=hello", "greeting").await.expect("an answer").status(), 200);
    assert_eq!(post("?do=panic&message=boom", "panicking").await.expect("an answer").status(), 500);
    let slow = post("?do=sleep&ms=1500", "slow");
    let stop = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        served.terminate();
    };
    let (reply, ()) = tokio::join!(slow, stop);
    assert_eq!(reply.expect("finished within the grace period").status(), 200);

    let (code, log) = served.wait_for_exit();
    assert_eq!(code, Some(0), "{log}");
    let events: Vec<serde_json::Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let guest_event = |message: &str, request: &str| {
        events.iter().any(|event| {
            event["message"].as_str().is_some_and(|text| text.contains(message))
                && event["request"] == request
                && event["plugin"] == "tester"
        })
    };
    assert!(guest_event("hello from stdout", "greeting"), "{log}");
    assert!(guest_event("hello from stderr", "greeting"), "{log}");
    assert!(guest_event("the message boom", "panicking"), "{log}");
    let line = events.iter().find(|event| event["target"] == "plimsoll::request" && event["request"] == "slow");
    let line = line.unwrap_or_else(|| panic!("the log has no line for the request: {log}"));
    assert_eq!((&line["pipeline"], &line["chip"], &line["outcome"]), (&"p".into(), &"echo".into(), &"ok".into()));
    for field in ["duration_ms", "preprocess_bytes", "infer_bytes", "postprocess_bytes"] {
        assert!(line[field].is_number(), "{field} in {line}");
    }
}
