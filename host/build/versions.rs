//! The version of the engine, which its crate does not tell: from the lock file.

use std::fs;
use std::path::Path;

/// Exports the version of wasmtime as `PLIMSOLL_WASMTIME`; `unknown` without a lock file.
pub(crate) fn export() {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    let text = fs::read_to_string(lock).unwrap_or_default();
    let version = text.split_once("name = \"wasmtime\"\nversion = \"").and_then(|(_, rest)| rest.split('"').next());
    println!("cargo::rustc-env=PLIMSOLL_WASMTIME={}", version.unwrap_or("unknown"));
}
