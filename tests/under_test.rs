//! The binary `plimsoll-under-test`: the program `plimsoll`, in which a test can cause panics.

use std::path::Path;
use std::process::ExitCode;

#[path = "../host/src/main.rs"]
mod program;

/// The variable with a folder. A file in it that has the name of a place causes one panic at this place, and is removed.
const FAULTS: &str = "PLIMSOLL_TEST_FAULTS";

fn main() -> ExitCode {
    if std::env::var_os(FAULTS).is_some() {
        plimsoll_runtime::panics::set_fault(panic_if_asked);
    }
    program::main()
}

fn panic_if_asked(place: &'static str) {
    let is_asked = |folder| std::fs::remove_file(Path::new(&folder).join(place)).is_ok();
    assert!(!std::env::var_os(FAULTS).is_some_and(is_asked), "on purpose, at {place}");
}
