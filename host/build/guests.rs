//! Builds a workspace of guests for `wasm32-wasip2` with one nested cargo build. The build scripts of the host
//! (`plugins/`) and of the tests (`tests/guests/`) share it.
//!
//! The plugins that are shipped have the same bytes on every machine, because the version of a pipeline is derived from
//! them (`tests/it/reproducible.rs`). This needs two things: [`build_shipped`] gives the folders of this machine other names in
//! panic messages, and every dependency that is given by a path is inside the workspace. Cargo derives the symbols of other
//! path dependencies from their absolute path, so `plugins/onnx` is a link to `host/onnx`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const TARGET: &str = "wasm32-wasip2";

/// Builds every default member of the workspace at `workspace` (relative to the package) into the target directory
/// `target/<name>` and copies the components to `OUT_DIR`. Cargo runs this again if the guests, the SDK or the contract
/// change. If the guests do not build, the build fails.
#[allow(unreachable_pub, dead_code, reason = "shared by two build scripts")]
pub fn build(workspace: &str, name: &str) {
    build_with(workspace, name, &["--lib", "--examples"]);
}

/// Like [`build`], but passes `what` to cargo to select the targets, for example `--lib`.
#[allow(unreachable_pub, dead_code, reason = "shared by two build scripts")]
pub fn build_with(workspace: &str, name: &str, what: &[&str]) {
    run(workspace, name, what, false);
}

/// Like [`build`], for components without the paths of this machine.
#[allow(unreachable_pub, dead_code, reason = "shared by two build scripts")]
pub fn build_shipped(workspace: &str, name: &str) {
    run(workspace, name, &["--lib", "--examples"], true);
}

fn run(workspace: &str, name: &str, what: &[&str], is_shipped: bool) {
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let workspace = package.join(workspace);
    // OUT_DIR is target/<profile>/build/<package>/out. The guests' target directory is next to the profiles, so that
    // all profiles share one build of the guests.
    let target = out.ancestors().nth(4).expect("OUT_DIR is in a target directory").join(name);

    for watched in
        [workspace.clone(), package.join("../plugins/sdk"), package.join("../wit"), package.join("../host/onnx")]
    {
        println!("cargo:rerun-if-changed={}", watched.display());
    }
    ensure_target();

    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets it"));
    cargo
        .current_dir(&workspace)
        .args(["build", "--release", "--locked", "--target", TARGET])
        .args(what)
        .arg("--target-dir")
        .arg(&target);
    if is_shipped {
        // Cargo adds these flags to those of the workspace's `.cargo/config.toml`. The variable RUSTFLAGS would replace them.
        cargo.arg("--config").arg(format!("target.{TARGET}.rustflags = [{}]", remapped(&package, &target).join(", ")));
    }
    // The outer build's flags and wrappers (clippy) are not meant for the guests.
    for variable in ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "RUSTC_WRAPPER", "RUSTC"] {
        cargo.env_remove(variable);
    }
    let status = cargo.status().expect("cargo starts");
    assert!(status.success(), "building the guests in {} failed; see the output above", workspace.display());

    let built = target.join(TARGET).join("release");
    copy_components(&built, &out);
    copy_components(&built.join("examples"), &out);
}

/// The options of rustc that rename the folders of this machine, as strings of TOML. The last one that matches a path
/// applies, so the folders that may be inside another one come after it.
fn remapped(package: &Path, target: &Path) -> Vec<String> {
    let repository = package.join("..").canonicalize().expect("the repository is a folder");
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    println!("cargo:rerun-if-env-changed=CARGO_HOME");
    let mut folders = vec![(repository, "/plimsoll")];
    for (folder, name) in [(cargo_home, "/cargo"), (Some(target.to_owned()), "/target")] {
        let Some(folder) = folder else { continue };
        // The path that cargo passes may contain a symbolic link.
        folders.extend(folder.canonicalize().ok().filter(|real| *real != folder).map(|real| (real, name)));
        folders.push((folder, name));
    }
    let option = |(folder, name): (PathBuf, &str)| {
        let option = format!("--remap-path-prefix={}={name}", folder.display());
        format!("\"{}\"", option.replace('\\', "\\\\").replace('"', "\\\""))
    };
    folders.into_iter().map(option).collect()
}

fn copy_components(from: &Path, to: &Path) {
    let Ok(entries) = fs::read_dir(from) else { return };
    for entry in entries {
        let path = entry.expect("readable folder").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // Next to each example, cargo writes the same file with a hash in its name: NAME-0123456789abcdef.wasm.
        if name.ends_with(".wasm") && !name.contains('-') {
            fs::copy(&path, to.join(name)).expect("OUT_DIR is writable");
        }
    }
}

/// `rust-toolchain.toml` names the target, but rustup's automatic installation may be off.
fn ensure_target() {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let libdir = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
    let installed = libdir.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir());
    if installed {
        return;
    }
    println!("cargo:warning=the target {TARGET} is missing; running `rustup target add {TARGET}`");
    let added = Command::new("rustup").args(["target", "add", TARGET]).status();
    assert!(
        added.is_ok_and(|status| status.success()),
        "the target {TARGET} is not installed and `rustup target add {TARGET}` failed. Install it with this command \
         (or your distribution's package of the Rust standard library for {TARGET}), then build again."
    );
}
