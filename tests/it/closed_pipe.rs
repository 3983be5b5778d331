//! If the output of a command is not read to the end (`plimsoll inspect FILE | head -1`), the command ends silently,
//! with its exit code.

use std::fs::File;
use std::path::Path;
use std::process::{Output, Stdio};

use plimsoll_tests::{TempDir, data, guest};

use crate::served_folder::{command, folder};

/// Runs a command with this stdout.
fn run_with(stdout: Stdio, folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let child = command(folder).args(arguments).stdout(stdout).stderr(Stdio::piped()).spawn().expect("it starts");
    let Output { status, stderr, .. } = child.wait_with_output().expect("it ends");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

/// Runs a command whose stdout is a pipe that is closed.
fn run_closed(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    run_with(writer.into(), folder, arguments)
}

#[test]
fn a_reader_that_closes_the_pipe_ends_the_output_silently() {
    let folder = folder("");
    let component = guest("noop-infer").display().to_string();
    let image = data("digits/7.jpg").display().to_string();
    for arguments in [
        &["inspect", &*component][..],
        &["check", "--config", "plimsoll.toml"],
        &["infer", "p", &image, "--config", "plimsoll.toml"],
        &["plugin", "new", "fresh", "--kind", "infer"],
        &["--help"],
        &["--version"],
    ] {
        let (code, text) = run_closed(folder.path(), arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {text}");
        assert!(!text.contains("panicked") && !text.contains("plimsoll: "), "{arguments:?}: {text}");
    }
    // A failure keeps its exit code and its message.
    let (code, text) =
        run_closed(folder.path(), &["infer", "p", &image, "--chip", "none", "--config", "plimsoll.toml"]);
    assert!(code == Some(1) && text.contains("has no chip `none`"), "{code:?}: {text}");
    let (code, text) = run_closed(folder.path(), &["key", "new", "acme"]);
    assert!(code == Some(0) && text.contains("The first line is the key"), "{code:?}: {text}");
}

#[test]
fn a_stdout_that_cannot_be_written_is_reported() {
    let folder = TempDir::new().expect("a folder");
    let component = guest("noop-infer").display().to_string();
    let full = File::options().write(true).open("/dev/full").expect("there");
    let (code, text) = run_with(full.into(), folder.path(), &["inspect", &component]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("stdout cannot be written") && !text.contains("panicked"), "{text}");
}
