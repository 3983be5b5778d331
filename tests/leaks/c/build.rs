//! Compiles the C code with clang, the only requirement in addition to Rust: no archiver is needed because the
//! object is passed to the linker directly, and no C development package is needed because the code includes no header.

use std::process::Command;

/// Fixed here, because a compiler that is set in the environment is meant for the host.
const CLANG: &str = "clang";
const SOURCE: &str = "src/requests.c";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    if let Err(error) = Command::new(CLANG).arg("--version").output() {
        println!("cargo::error=c-guest needs {CLANG} ({error}): apt-get install --no-install-recommends clang");
        return;
    }
    let mut build = cc::Build::new();
    // clang of Debian 12 supports WASI preview 1 but not preview 2; the objects are the same.
    build.compiler(CLANG).target("wasm32-wasip1").file(SOURCE).opt_level(2).debug(true).flag("-ffreestanding");
    for object in build.compile_intermediates() {
        println!("cargo::rustc-link-arg={}", object.display());
    }
}
