//! A panic is a line of the log. It does not write to stderr itself, which would wait for a reader.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use plimsoll::base::panics;
use plimsoll::base::telemetry::{self, LogFormat};

/// The variable that tells the child what to do.
const TASK: &str = "PLIMSOLL_TEST_PANIC_HOOK";

/// Not a separate test: the other tests start it as a process.
#[test]
#[ignore = "the other tests start it"]
fn child() {
    let Ok(task) = std::env::var(TASK) else { return };
    telemetry::start(LogFormat::Json).expect("the log starts");
    panics::log_panics();
    if task == "stalled" {
        // More than the pipe and the thread of the log hold.
        for _ in 0..200 {
            telemetry::print_line(&"x".repeat(2_000));
        }
    }
    let before = panics::panics();
    let ended = std::thread::Builder::new().name("worker".into()).spawn(|| panic!("the reason\nforged line"));
    assert!(ended.expect("started").join().is_err());
    assert_eq!(panics::panics(), before + 1);
    std::fs::write(std::env::var("PLIMSOLL_TEST_DONE").expect("a path"), "done").expect("written");
    telemetry::finish();
    std::process::exit(0);
}

fn start(task: &str, done: &std::path::Path) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command.args(["--exact", "panic_hook::child", "--ignored", "--nocapture"]).env(TASK, task);
    command.env("PLIMSOLL_TEST_DONE", done).env_remove("RUST_LOG").env_remove("RUST_BACKTRACE");
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts")
}

#[test]
fn a_panic_is_one_line_of_the_log() {
    let folder = plimsoll_tests::TempDir::new().expect("a folder");
    let output = start("panic", &folder.path().join("done")).wait_with_output().expect("it ends");
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(0), "{text}");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 1, "nothing else is written to stderr: {text}");
    let line: serde_json::Value = serde_json::from_str(lines[0]).expect("a line of the log");
    assert_eq!((&line["target"], &line["level"]), (&"plimsoll::panic".into(), &"ERROR".into()), "{line}");
    assert!(text.contains("the reason") && text.contains("worker") && text.contains("panic_hook.rs"), "{text}");
}

#[test]
fn a_panic_does_not_wait_for_a_reader_of_stderr() {
    let folder = plimsoll_tests::TempDir::new().expect("a folder");
    let done = folder.path().join("done");
    // Nothing reads its stderr.
    let mut child = start("stalled", &done);
    let end = Instant::now() + Duration::from_secs(60);
    while !done.exists() {
        assert!(Instant::now() < end, "the panic waits for stderr");
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
}
