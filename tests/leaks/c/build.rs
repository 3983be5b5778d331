//! Compiles the C code with clang, which is the only thing that is needed beside Rust: an object goes to the linker as
//! it is, so there is no archiver, and the code includes no header, so there is no C library's development package.

use std::process::Command;

/// Named here, since a compiler that the environment asks for is meant for the host.
const CLANG: &str = "clang";
const SOURCE: &str = "src/requests.c";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    if let Err(error) = Command::new(CLANG).arg("--version").output() {
        println!("cargo::error=c-guest needs {CLANG} ({error}): apt-get install --no-install-recommends clang");
        return;
    }
    let mut build = cc::Build::new();
    // clang of Debian 12 knows WASI, but not its second preview; the objects are the same.
    build.compiler(CLANG).target("wasm32-wasip1").file(SOURCE).opt_level(2).debug(true).flag("-ffreestanding");
    for object in build.compile_intermediates() {
        println!("cargo::rustc-link-arg={}", object.display());
    }
}
