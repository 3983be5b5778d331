//! The shipped plugins have the same bytes in every checkout, because the version of a pipeline is derived from them.

use std::path::{Path, PathBuf};
use std::process::Command;

use plimsoll::base::bundled;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("a folder")
}

/// The bytes of a shipped plugin, as far as they are text.
fn text(plugin: &str) -> String {
    String::from_utf8_lossy(bundled::plugin(plugin).expect("it is shipped")).into_owned()
}

#[test]
fn the_shipped_plugins_have_no_path_of_this_machine() {
    let home = std::env::var("HOME").unwrap_or_default();
    let cargo_home = std::env::var("CARGO_HOME").unwrap_or_else(|_| format!("{home}/.cargo"));
    let repository = repository().display().to_string();
    for name in bundled::names() {
        let text = text(name);
        for path in [repository.as_str(), &cargo_home, "/.cargo/", "/target/guests/"] {
            assert!(path.len() > 1 && !text.contains(path), "{name} contains the path {path}");
        }
    }
    // The components have paths, so the search would find those of this machine.
    assert!(text("image-preprocess").contains("/cargo/registry/src/"));
    assert!(text("infer-wasm").contains("onnx/src/"));
}

/// Cargo derives the symbols of a crate from its path below the workspace; of a crate outside of the workspace, from its
/// absolute path.
#[test]
fn every_path_dependency_of_the_shipped_plugins_is_inside_their_workspace() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(repository().join("plugins"));
    let output = cargo.args(["metadata", "--format-version", "1", "--no-deps", "--locked", "--offline"]).output();
    let output = output.expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let workspace = metadata["workspace_root"].as_str().expect("a folder");
    let mut count = 0;
    for package in metadata["packages"].as_array().expect("a list") {
        for dependency in package["dependencies"].as_array().expect("a list") {
            let Some(path) = dependency["path"].as_str() else { continue };
            assert!(Path::new(path).starts_with(workspace), "{}: {path} is outside of {workspace}", package["name"]);
            count += 1;
        }
    }
    assert!(count > 10, "{count}");
}
