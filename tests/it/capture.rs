//! Captures: a share of the requests is kept with its replies, within limits, readable only by their owner. `replay` runs
//! them again.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use plimsoll_tests::{Server, TempDir, guests_config};
use serde_json::{Value, json};

use crate::cli::{run, text};
use crate::recorder::wait_until;

fn config(dir: &Path, table: &str) -> String {
    guests_config("tester", "max_memory = \"32MiB\"") + &format!("[pipelines.p.capture]\ndir = {dir:?}\n{table}\n")
}

pub(crate) fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).map(|entries| entries.map(|entry| entry.expect("an entry").path()).collect());
    let mut files: Vec<PathBuf> = entries.unwrap_or_default();
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.sort();
    files
}

/// The facts of all captures by the id of the request, read as JSON Lines.
fn facts(dir: &Path) -> BTreeMap<String, (PathBuf, Value)> {
    let all = files(dir, "json").into_iter().map(|path| {
        let line = fs::read_to_string(&path).expect("text");
        assert!(line.ends_with('\n') && line.trim_end().lines().count() == 1, "{line}");
        let facts: Value = serde_json::from_str(&line).expect("JSON");
        (facts["request"].as_str().expect("an id").to_owned(), (path, facts))
    });
    all.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_kept_with_their_replies_and_replayed() {
    let folder = TempDir::new().expect("a folder");
    let dir = folder.path().join("captures");
    let server = Server::start(&config(&dir, "share = \"100%\"")).await;
    let post = async |id: &str, query: &str, body: &str| {
        let headers = [("x-request-id", id), ("content-type", "image/x-test"), ("x-plimsoll-caller", "acme")];
        server.send("POST", &format!("/v1/pipelines/p/infer{query}"), &headers, body.as_bytes().to_vec()).await
    };
    let answered = post("a", "?do=ok", "body a").await;
    assert_eq!(answered.status, 200, "{}", answered.text);
    assert_eq!(post("b", "?do=panic", "body b").await.status, 500);
    let images = json!({ "inputs": [{ "name": "image", "datatype": "BYTES", "shape": [2], "data": ["x", "y"] }] });
    assert_eq!(
        server.send("POST", "/v2/models/p/infer", &[("x-request-id", "c")], images.to_string().into()).await.status,
        200
    );
    wait_until(|| files(&dir, "json").len() == 4, "four captures").await;
    server.stop().await;

    let facts = facts(&dir);
    assert_eq!(facts.keys().map(String::as_str).collect::<Vec<_>>(), ["a", "b", "c", "c.1"]);
    let (path, a) = &facts["a"];
    assert_eq!(fs::read_to_string(path.with_extension("body")).expect("text"), "body a");
    assert_eq!(fs::read(path.with_extension("reply")).expect("there"), answered.bytes);
    assert_eq!(a["kept_for"], json!(["capture"]));
    assert_eq!(
        (&a["outcome"], &a["caller"], &a["content_type"]),
        (&"ok".into(), &"acme".into(), &"image/x-test".into())
    );
    assert_eq!(a["reply"]["bytes"], answered.bytes.len());
    let media_type = answered.headers["content-type"].to_str().expect("text");
    assert_eq!(a["reply"]["content_type"], media_type);
    assert_eq!(a["stages"].as_array().expect("a list").len(), 3);
    let (path, b) = &facts["b"];
    assert_eq!((&b["outcome"], b.get("reply")), (&"trap".into(), None));
    assert!(!path.with_extension("reply").exists());
    assert_eq!(fs::read_to_string(facts["c.1"].0.with_extension("body")).expect("text"), "y");
    assert_eq!(fs::metadata(&dir).expect("there").permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&dir).expect("a folder") {
        let entry = entry.expect("an entry");
        assert_eq!(entry.metadata().expect("there").permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }

    let file = folder.path().join("plimsoll.toml");
    fs::write(&file, guests_config("tester", "max_memory = \"32MiB\"")).expect("written");
    let replay = || {
        let output = run(&["replay", dir.to_str().expect("text"), "--config", file.to_str().expect("text")]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    assert!(replay().contains("3 of 3 replies have the same bytes"), "{}", replay());
    fs::write(facts["a"].0.with_extension("reply"), "another").expect("written");
    assert!(replay().contains("2 of 3 replies have the same bytes"), "{}", replay());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_the_requests_is_kept_within_the_limits() {
    let folder = TempDir::new().expect("a folder");
    let dir = folder.path().join("captures");
    let server = Server::start(&config(&dir, "share = \"10%\"\nmax_bytes = \"1MiB\"")).await;
    for _ in 0..400 {
        assert_eq!(server.infer("p", "?do=ok", "x").await.status, 200);
    }
    server.stop().await;
    let kept = files(&dir, "json").len();
    // The share is kept in each block of 50 to 150 requests.
    assert!((20..=70).contains(&kept), "{kept} of 400");

    // Bodies and replies count, and the oldest captures make room.
    let server = Server::start(&config(&dir, "share = \"100%\"\nmax_bytes = \"256KiB\"")).await;
    for _ in 0..12 {
        assert_eq!(server.infer("p", "?do=ok", vec![b'x'; 50_000]).await.status, 200);
    }
    server.stop().await;
    let bytes: u64 = ["json", "body", "reply"]
        .iter()
        .flat_map(|extension| files(&dir, extension))
        .map(|path| fs::metadata(path).expect("there").len())
        .sum();
    assert!(bytes <= 256 << 10, "{bytes}");
    let names = |extension| files(&dir, extension).iter().map(|path| path.with_extension("")).collect::<Vec<_>>();
    assert!(!names("json").is_empty());
    assert_eq!((names("json"), names("json")), (names("body"), names("reply")));
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_name_the_key() {
    let folder = TempDir::new().expect("a folder");
    let dir = folder.path().join("captures");
    for (table, key) in [
        ("", "missing field `share`"),
        ("share = \"0%\"", "pipelines.p.capture.share"),
        ("share = \"101%\"", "pipelines.p.capture.share"),
        ("share = \"1%\"\nmax_bytes = 0", "pipelines.p.capture.max_bytes"),
        ("share = \"1%\"\nmax_age = \"0s\"", "pipelines.p.capture.max_age"),
    ] {
        let message = Server::rejection(&config(&dir, table)).await;
        assert!(message.contains(key), "{table}: {message}");
    }
    let same = config(&dir, "share = \"1%\"") + &format!("[pipelines.p.record]\ndir = {dir:?}\n");
    let message = Server::rejection(&same).await;
    assert!(message.contains("pipelines.p.capture.dir") && message.contains("pipelines.p.record"), "{message}");
}
