//! Texts of plugins are not trusted: where they are printed, control characters are escaped and the length is limited.

use std::process::Command;

use plimsoll_tests::{Server, Site, TempDir, another_version, guest, guests_config, stamped};

use crate::cli::{run, text};
use crate::versions::with_section;

/// An author that clears the screen, begins a new line and reverses the text after it.
const AUTHOR: &str = "Eve \u{1b}[2J\r\nversion   9.9.9\u{202e} José";

fn component() -> Vec<u8> {
    another_version(&std::fs::read(guest("noop-preprocess")).expect("built"), 7)
}

fn assert_harmless(printed: &str) {
    let is_harmful =
        |letter: char| (letter.is_control() && letter != '\n') || ('\u{202a}'..='\u{2069}').contains(&letter);
    assert!(!printed.contains(is_harmful), "{printed:?}");
}

#[test]
fn inspect_escapes_the_texts_of_a_file() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("plugin.wasm");
    let bytes = with_section(&component(), "authors", AUTHOR);
    std::fs::write(&file, with_section(&bytes, "description", &"long ".repeat(10_000))).expect("written");
    let output = run(&["inspect", &file.display().to_string()]);
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_harmless(&printed);
    assert!(printed.contains("authors   Eve \\u{1b}[2J\\r\\nversion   9.9.9\\u{202e} José"), "{printed}");
    assert_eq!(printed.lines().filter(|line| line.starts_with("version")).count(), 1, "{printed}");
    assert!(printed.lines().all(|line| line.len() < 2_000), "{printed}");

    std::fs::write(&file, with_section(&component(), "version", "1\u{1b}[31m\n2")).expect("written");
    let output = run(&["inspect", &file.display().to_string()]);
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_harmless(&printed);
    assert!(printed.contains("is not a valid version"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_plugins_escapes_the_texts_of_the_server() {
    let site = Site::new("");
    let server = site.serve().await;
    // The list shows the path of the rejected file, and the reason, which has the path too.
    site.drop_in("stamp@\u{1b}[31m\nstamp serving\u{202e}.wasm", &stamped(1));
    server.wait_for_state("stamp", "refused").await;
    let output = Command::new(env!("CARGO_BIN_EXE_plimsoll-under-test"))
        .args(["plugin", "list", "--server", &server.url])
        .env("PLIMSOLL_ADMIN_TOKEN", server.token.as_deref().unwrap_or_default())
        .output()
        .expect("it starts");
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(printed.contains("refused") && printed.contains("\\u{1b}[31m\\nstamp serving\\u{202e}"), "{printed}");
    assert_harmless(&printed);
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_bounded_in_memory_and_replies() {
    let server = Server::start(&guests_config("noop-preprocess", "")).await;
    let bytes = with_section(&component(), "description", &"é".repeat(100_000));
    let put = server.send("PUT", "/v1/plugins/noop-preprocess", &[], bytes).await;
    assert_eq!(put.status, 200, "{}", put.text);
    let shown = server.get("/v1/plugins/noop-preprocess").await;
    let description = shown.json()["description"].as_str().expect("text").to_owned();
    assert!(description.starts_with("éé") && description.len() <= 1_024, "{} bytes", description.len());
}
