//! Helpers shared by the integration tests: test guests, a configuration in its own folder, and a real server on port
//! 0.

pub mod bench;
pub mod bench_support;
pub mod jpeg;
pub mod onnx;
pub mod pairs;
pub mod simulated;
pub mod soak;

mod server;
mod site;
mod waits;

use std::path::{Path, PathBuf};

pub use server::{Reply, Server};
pub use site::{Site, another_version, journal_state, stamped, stamped_reply};
pub use tempfile::TempDir;

/// Writes a file that a server watches: the whole file, or nothing of it, is in its place.
///
/// # Errors
/// If the file, or the draft beside it, cannot be written.
pub fn replace_file(path: &Path, contents: impl AsRef<[u8]>) -> std::io::Result<()> {
    let draft = path.with_extension("draft");
    std::fs::write(&draft, contents)?;
    std::fs::rename(draft, path)
}

/// The path of a guest's component. The build script builds it from the source in `tests/guests`.
pub fn guest(name: &str) -> PathBuf {
    Path::new(env!("OUT_DIR")).join(format!("{}.wasm", name.replace('-', "_")))
}

/// The path of a file in `tests/data`.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

/// The path of a folder next to the repository (`corpus`, `models`). It is optional: without it, the reason is printed,
/// the result is `None`, and the caller skips its test.
///
/// # Panics
/// If the folder is missing and `CI` is set.
pub fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(name);
    if path.is_dir() {
        return Some(path);
    }
    skip(&format!("{} is missing", path.display()));
    None
}

/// Prints why a test, or a part of it, is skipped.
///
/// # Panics
/// If `CI` is set.
pub fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "{reason}, and CI must not skip");
    eprintln!("SKIPPED: {reason}");
}

/// Runs a test of the calling file of tests in a new process, because it needs a process of its own. Returns true in that
/// process.
///
/// # Panics
/// If the test fails there.
pub fn is_alone(test: &str) -> bool {
    if std::env::var_os("ALONE").is_some() {
        return true;
    }
    let mut alone = std::process::Command::new(std::env::current_exe().expect("a file"));
    let output = alone.args(["--exact", test, "--nocapture"]).env("ALONE", "1").output().expect("it starts");
    let (stdout, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{stdout}{log}");
    assert!(output.status.success() && stdout.contains("1 passed"), "{test} failed in a process of its own");
    false
}

/// A configuration of one pipeline `p` of test guests: the given preprocess plugin, then `echo-infer` and
/// `echo-postprocess`. `stage` is added to `[pipelines.p.preprocess]`.
pub fn guests_config(preprocess: &str, stage: &str) -> String {
    let file = |name: &str| format!("[plugins.{name}]\nfile = {:?}\n", guest(name));
    format!(
        "{}{}{}[pipelines.p.preprocess]\nplugin = \"{preprocess}\"\n{stage}\n\
         [pipelines.p.chips.echo]\nplugin = \"echo-infer\"\n\
         [pipelines.p.postprocess]\nplugin = \"echo-postprocess\"\n",
        file(preprocess),
        file("echo-infer"),
        file("echo-postprocess"),
    )
}

/// The token that a server made in the folder `.plimsoll` next to its configuration.
///
/// # Panics
/// If there is no token.
pub fn made_token(folder: &Path) -> String {
    let token = std::fs::read_to_string(folder.join(".plimsoll/admin-token")).expect("the server made a token");
    token.trim().to_owned()
}

/// One compiled cache for all tests, because compiling the guests again for each test would take most of the time.
/// Tests of the cache itself use their own.
pub fn shared_cache() -> PathBuf {
    Path::new(env!("OUT_DIR")).join("compiled-cache")
}
