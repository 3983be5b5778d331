//! The binary `plimsoll-under-test`: the program `plimsoll`, in which a test can cause panics, and stop a thread at a place.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

#[path = "../host/src/main.rs"]
mod program;

/// The variable with a folder. A file in it that has the name of a place causes one panic at this place, and is removed. While
/// it has a file with the ending `.wait`, a thread that reaches the place waits there, and makes a file with the ending `.reached`.
const FAULTS: &str = "PLIMSOLL_TEST_FAULTS";

fn main() -> ExitCode {
    if std::env::var_os(FAULTS).is_some() {
        plimsoll_runtime::panics::set_fault(reach);
    }
    program::main()
}

fn reach(place: &'static str) {
    let Some(folder) = std::env::var_os(FAULTS) else { return };
    let path = Path::new(&folder).join(place);
    if path.with_extension("wait").exists() {
        let _ = std::fs::write(path.with_extension("reached"), "");
    }
    while path.with_extension("wait").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(std::fs::remove_file(&path).is_err(), "on purpose, at {place}");
}
