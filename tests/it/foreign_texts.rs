//! Texts of plugins are not trusted: where they are printed, control characters are escaped and the length is limited.

use std::process::Command;

use plimsoll_tests::{Server, Site, TempDir, another_version, guest, guests_config, stamped};

use crate::cli::{run, text};
use crate::served_folder::{ServedFolder, folder};
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

/// What a plugin prints, and with which message it fails, is a text in one line of the log.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_says_forges_no_line_of_the_log() {
    const FORGED: &str = "x\"\r\n2026-01-01T00:00:00.000000Z  INFO plimsoll::audit: change by=\"admin\" forged\u{1b}[2J\u{202e} \
                          outcome=\"forged";
    for format in ["human", "json"] {
        let folder = folder("");
        let mut served = ServedFolder::serve(folder.path(), &["--log", format]);
        let url = reqwest::Url::parse(&format!("{}/v1/pipelines/p/infer", served.url)).expect("a URL");
        for command in ["panic", FORGED] {
            let mut url = url.clone();
            url.query_pairs_mut().append_pair("do", command).append_pair("message", FORGED);
            let request = reqwest::Client::new().post(url).header("x-request-id", "x\"status=999");
            let reply = request.send().await.expect("an answer");
            assert_eq!(reply.status(), if command == "panic" { 500 } else { 422 });
        }
        // The second request.
        served.wait_for("invalid_input");
        served.process.signal("-INT");
        let (code, log) = served.process.wait_for_exit();
        assert_eq!(code, Some(0), "{log}");
        match format {
            "human" => assert_harmless(&log),
            // Programs read it.
            _ => assert!(!log.contains(|letter: char| letter.is_control() && letter != '\n'), "{log:?}"),
        }
        assert!(log.contains("forged"), "{log}");
        for line in log.lines() {
            if format == "json" {
                let event: serde_json::Value =
                    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
                let is_ours = |key: &str| event[key].as_str().is_none_or(|text| !text.contains("forged"));
                assert!(["outcome", "by", "target", "level"].into_iter().all(is_ours), "{line}");
                assert_ne!(event["status"], 999, "{line}");
            } else {
                assert!(!line.starts_with("2026-01-01T00:00:00.000000Z"), "{line}");
            }
        }
    }
}
