//! The helpers of the SDKs for Python and JavaScript: configuration, assets, tensors, results and failures.

use std::path::Path;
use std::process::Command;

use crate::cli::text;

/// Runs a script of `tests/conformance/sdk`. It is left out if the interpreter is missing or older than the SDK needs.
fn check(program: &str, version: &[&str], script: &str) {
    if !Command::new(program).args(version).output().is_ok_and(|output| output.status.success()) {
        plimsoll_tests::skip(&format!("{program} is missing or too old, so the helpers of its SDK are not tested"));
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/sdk").join(script);
    let output = Command::new(program).arg(path).output().expect("it starts");
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("are right"), "{}", text(&output.stdout));
}

#[test]
fn the_helpers_for_python_are_right() {
    check("python3", &["-c", "import sys; sys.exit(sys.version_info < (3, 10))"], "python_sdk.py");
}

#[test]
fn the_helpers_for_javascript_are_right() {
    check("node", &["-e", "process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)"], "javascript_sdk.mjs");
}
