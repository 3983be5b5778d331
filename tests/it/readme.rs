//! What the README says about `cargo run` is true. The plugin of `host/docs/plugins.md` is complete, has fewer than 30
//! lines, and works.

use std::path::{Path, PathBuf};
use std::process::Command;

use plimsoll_tests::{Server, TempDir, guests_config};

/// The first fenced code block in a language.
fn block<'a>(text: &'a str, language: &str) -> &'a str {
    let start = format!("```{language}\n");
    let from = text.find(&start).unwrap_or_else(|| panic!("the document has no {start:?}")) + start.len();
    &text[from..from + text[from..].find("```").expect("closed")]
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// The tests contain the binary once more. Without `default-run`, `cargo run` would ask which of the two it should run.
#[test]
fn cargo_run_in_the_repository_starts_the_server() {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root()).args(["metadata", "--no-deps", "--format-version", "1", "--offline", "--locked"]);
    let output = command.output().expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("a list");
    let chosen: Vec<_> =
        packages.iter().map(|package| &package["default_run"]).filter(|name| name.is_string()).collect();
    assert_eq!(chosen, ["plimsoll"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plugin_in_the_documents_builds_and_serves() {
    let root = root();
    let page = std::fs::read_to_string(root.join("host/docs/plugins.md")).expect("a document");
    let source = block(&page, "rust");
    assert!(source.lines().count() < 30, "{} lines", source.lines().count());

    let folder = TempDir::new().expect("a folder");
    let manifest = block(&page, "toml").replace("path/to/plimsoll", root.to_str().expect("text"));
    std::fs::create_dir(folder.path().join("src")).expect("made");
    std::fs::write(folder.path().join("Cargo.toml"), manifest).expect("written");
    std::fs::write(folder.path().join("src/lib.rs"), source).expect("written");
    // Uses the dependency versions of the shipped plugins, so that nothing is downloaded.
    std::fs::copy(root.join("plugins/Cargo.lock"), folder.path().join("Cargo.lock")).expect("copied");
    let status = Command::new(env!("CARGO"))
        .current_dir(folder.path())
        .args(["build", "--release", "--target", "wasm32-wasip2", "--target-dir", "target"])
        .status()
        .expect("cargo starts");
    assert!(status.success());
    let file: PathBuf = folder.path().join("target/wasm32-wasip2/release/brightness.wasm");
    let config = guests_config("tester", "").replace("plugin = \"tester\"", "plugin = \"brightness\"")
        + &format!("[plugins.brightness]\nfile = {file:?}\n");
    let server = Server::start(&config).await;
    let reply = server.infer("p", "", vec![0, 255, 51]).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.json()["tensors"][0]["shape"], serde_json::json!([1, 3]));
    assert_eq!(server.infer("p", "", "").await.code(), "invalid_input");
}
