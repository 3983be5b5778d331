//! Builds a plugin in Rust with cargo.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Built;
use super::error::BuildError;
use super::manifest::Package;
use crate::base::telemetry::print_line;

const TARGET: &str = "wasm32-wasip2";

/// Builds the crate in a folder.
pub(super) fn build(dir: &Path) -> Result<Built, BuildError> {
    let package = Package::read(&dir.join("Cargo.toml"), "package")?;
    let (name, metadata) = (package.name()?, package.metadata());
    ensure_target(dir)?;
    let component = compile(dir)?;
    let bytes = fs::read(&component).map_err(|error| BuildError::Unreadable { path: component, error })?;
    Ok(Built { name, bytes, metadata })
}

/// Installs the target if it is missing. `rust-toolchain.toml` may name the toolchain and the target, but rustup's
/// automatic installation may be disabled.
fn ensure_target(dir: &Path) -> Result<(), BuildError> {
    let asked = Command::new("rustc").current_dir(dir).args(["--print", "target-libdir", "--target", TARGET]).output();
    let asked = asked.map_err(BuildError::NoRustc)?;
    if !asked.status.success() {
        let words = String::from_utf8_lossy(&asked.stderr);
        // rustup may add a trace of its own calls, after an empty line.
        let message = words.split("\n\n").next().unwrap_or_default().trim().to_owned();
        return Err(BuildError::RustcFailed { folder: dir.to_owned(), message });
    }
    if Path::new(String::from_utf8_lossy(&asked.stdout).trim()).is_dir() {
        return Ok(());
    }
    print_line(&format!("the target {TARGET} is missing; running `rustup target add {TARGET}`"));
    let added = Command::new("rustup").current_dir(dir).args(["target", "add", TARGET]).status();
    if added.is_ok_and(|status| status.success()) { Ok(()) } else { Err(BuildError::NoTarget { target: TARGET }) }
}

/// Runs cargo and returns the path of the component that cargo reports.
fn compile(dir: &Path) -> Result<PathBuf, BuildError> {
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(dir)
        .args(["build", "--release", "--target", TARGET, "--message-format=json-render-diagnostics"])
        .stderr(Stdio::inherit());
    // A cargo build that runs this command sets these variables for itself. RUSTFLAGS would also silently replace the
    // flags in the crate's `.cargo/config.toml`.
    for variable in ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "RUSTC_WRAPPER", "RUSTC"] {
        cargo.env_remove(variable);
    }
    let output = cargo.output().map_err(BuildError::NoCargo)?;
    if !output.status.success() {
        return Err(BuildError::CargoFailed(dir.to_owned()));
    }
    let manifest = dir.join("Cargo.toml").canonicalize();
    let manifest = manifest.map_err(|error| BuildError::Folder { folder: dir.to_owned(), error })?;
    let messages = String::from_utf8_lossy(&output.stdout);
    let component = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|message| component_of(&message, &manifest));
    component.ok_or_else(|| BuildError::NoLibrary(dir.to_owned()))
}

/// Returns the component that a message of cargo reports for the crate of this manifest.
///
/// [Format of the messages](https://doc.rust-lang.org/cargo/reference/external-tools.html#artifact-messages).
fn component_of(message: &Value, manifest: &Path) -> Option<PathBuf> {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    if message["reason"] != "compiler-artifact" || !texts(&message["target"]["crate_types"]).contains(&"cdylib".into())
    {
        return None;
    }
    // A dependency may be a `cdylib` as well.
    if Path::new(message["manifest_path"].as_str()?).canonicalize().ok()? != manifest {
        return None;
    }
    texts(&message["filenames"]).into_iter().find(|name| name.ends_with(".wasm")).map(PathBuf::from)
}
