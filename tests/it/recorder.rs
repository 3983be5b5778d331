//! The recorder keeps notable inputs within its limits, readable only by their owner. `replay` runs them again.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use plimsoll_tests::{Server, Site, TempDir, guests_config, stamped};
use serde_json::Value;

use crate::cli::{run, text};

/// A pipeline with `tester` that records to `dir`.
fn config(dir: &Path, bounds: &str) -> String {
    let table = format!("[pipelines.p.record]\ndir = {dir:?}\n{bounds}\n");
    guests_config("tester", "max_memory = \"32MiB\"\ndeadline = \"2s\"") + &table
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).map(|entries| entries.map(|entry| entry.expect("an entry").path()).collect());
    let mut files: Vec<PathBuf> = entries.unwrap_or_default();
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.sort();
    files
}

fn facts(dir: &Path) -> Vec<Value> {
    files(dir, "json")
        .iter()
        .map(|path| serde_json::from_slice(&fs::read(path).expect("read")).expect("JSON"))
        .collect()
}

/// Waits until there are `count` recordings.
async fn wait_for_recordings(dir: &Path, count: usize) {
    wait_until(|| files(dir, "json").len() == count, &format!("{count} recordings in {}", dir.display())).await;
}

pub(crate) async fn wait_until(condition: impl Fn() -> bool, what: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "still waiting after 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn notable_inputs_are_kept_with_the_reason_and_readable_by_their_owner_only() {
    let folder = TempDir::new().expect("a folder");
    let dir = folder.path().join("deep/recordings");
    let server = Server::start(&config(&dir, "")).await;
    assert_eq!(fs::metadata(&dir).expect("made at start").permissions().mode() & 0o777, 0o700);
    // Each query with the reasons for which its input is kept; empty if it is not kept.
    let cases: [(&str, &[&str]); 11] = [
        ("do=ok", &["high_water preprocess", "high_water infer", "high_water postprocess"]),
        ("do=ok", &[]),
        ("do=alloc&bytes=3000000", &["high_water preprocess"]),
        ("do=alloc&bytes=2000000", &[]),
        ("do=invalid", &["high_water preprocess"]),
        ("do=invalid", &[]),
        ("do=panic", &["high_water preprocess", "trap"]),
        ("do=panic", &["trap"]),
        ("do=grow", &["high_water preprocess", "memory_limit"]),
        ("do=loop", &["high_water preprocess", "deadline"]),
        ("do=loop", &["deadline"]),
    ];
    let mut wanted = Vec::new();
    for (at, (query, kept_for)) in cases.into_iter().enumerate() {
        let path = format!("/v1/pipelines/p/infer?{query}");
        // The id of the request must not be used as a path.
        let headers = [("x-request-id", "../../evil"), ("content-type", "image/x-test"), ("x-plimsoll-caller", "acme")];
        server.send("POST", &path, &headers, format!("body {at}").into_bytes()).await;
        if !kept_for.is_empty() {
            wanted.push((at, kept_for));
            // Waits for each recording, so that the order on disk is that of the requests.
            wait_for_recordings(&dir, wanted.len()).await;
        }
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let facts = facts(&dir);
    let found: Vec<_> = facts.iter().map(|facts| facts["kept_for"].clone()).collect();
    assert_eq!(found, wanted.iter().map(|(_, kept_for)| Value::from(kept_for.to_vec())).collect::<Vec<_>>());
    for (path, (at, _)) in files(&dir, "body").iter().zip(&wanted) {
        assert_eq!(fs::read_to_string(path).expect("text"), format!("body {at}"));
    }
    for entry in fs::read_dir(&dir).expect("a folder") {
        let entry = entry.expect("an entry");
        assert_eq!(entry.metadata().expect("there").permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        assert_eq!(entry.path().file_stem().expect("a name").len(), 36, "a UUID: {:?}", entry.path());
    }
    assert!(!folder.path().join("evil.body").exists() && !folder.path().join("deep/evil.body").exists());
    let trap = &facts[3];
    assert_eq!((&trap["outcome"], &trap["request"]), (&"trap".into(), &"../../evil".into()));
    assert_eq!((&trap["content_type"], &trap["caller"]), (&"image/x-test".into(), &"acme".into()));
    assert_eq!(trap["parameters"], serde_json::json!([["do", "panic"]]));
    let stage = &trap["stages"][0];
    let digest = plimsoll_runtime::identity::digest(&fs::read(plimsoll_tests::guest("tester")).expect("built"));
    assert_eq!(
        (&stage["plugin"], &stage["digest"], &stage["outcome"]),
        (&"tester".into(), &digest.into(), &"trap".into())
    );
    assert!(
        stage["high_water"].as_u64() >= stage["initial"].as_u64() && stage["initial"].as_u64() > Some(0),
        "{stage}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_and_age_are_limited_and_incomplete_recordings_are_removed() {
    const BODY: usize = 30_000;
    let folder = TempDir::new().expect("a folder");
    let dir = folder.path().to_owned();
    let server = Server::start(&config(&dir, "max_bytes = 100000")).await;
    let mut names = Vec::new();
    for turn in 0..8_u8 {
        server.infer("p", "?do=panic", vec![b'0' + turn; BODY]).await;
        let newest = || files(&dir, "json").last().filter(|path| !names.contains(*path)).cloned();
        wait_until(|| newest().is_some(), "the newest recording is written").await;
        let newest = newest().expect("just seen");
        names.push(newest);
        let bytes: u64 =
            ["json", "body"].iter().flat_map(|extension| files(&dir, extension)).map(|path| size(&path)).sum();
        assert!(bytes <= 100_000, "{bytes} bytes after {turn}");
    }
    let bodies: Vec<_> = files(&dir, "body").iter().map(|path| fs::read(path).expect("read")[0]).collect();
    assert_eq!(bodies, *b"567", "the oldest recordings are removed first");
    // A body above `max_bytes` is not kept, and does not remove other recordings.
    server.infer("p", "?do=panic", vec![b'9'; 100_001]).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(files(&dir, "json").len(), 3);
    server.stop().await;

    let kept = files(&dir, "json");
    let old = SystemTime::now() - Duration::from_secs(8 * 24 * 60 * 60);
    fs::File::options().write(true).open(&kept[0]).and_then(|file| file.set_modified(old)).expect("set");
    let incomplete = dir.join("01a20c64-f40a-7247-af59-5dbb88958c5f.body");
    let draft = incomplete.with_extension("draft");
    let foreign = dir.join("notes.body");
    let before = SystemTime::now() - Duration::from_secs(3_600);
    for path in [&incomplete, &draft, &foreign] {
        fs::write(path, "x").expect("written");
        fs::File::options().write(true).open(path).and_then(|file| file.set_modified(before)).expect("an hour old");
    }
    // Another recorder of this process is writing it.
    let being_written = dir.join("01a20c64-f40a-7247-af59-5dbb88958c60.body");
    fs::write(&being_written, "x").expect("written");
    let server = Server::start(&config(&dir, "max_bytes = 100000")).await;
    wait_until(|| !kept[0].exists(), "recordings older than a week are removed").await;
    assert!(kept[1].exists() && kept[2].exists());
    assert!(!incomplete.exists() && !draft.exists() && foreign.exists(), "{:?}", files(&dir, "body"));
    assert!(being_written.exists());
    server.stop().await;
}

fn size(path: &Path) -> u64 {
    // A file that was just removed has no size.
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_recorded_if_the_recorder_is_off() {
    let site = Site::new("");
    let server = site.serve().await;
    server.infer("p", "?do=grow", "private").await;
    server.stop().await;
    let recordings = site.folder.path().join(".plimsoll/recordings");
    assert!(site.folder.path().join(".plimsoll").is_dir() && !recordings.exists());
    // `check`, and `infer` without a server, do not record either.
    site.write_config("record = {}");
    let config = site.config.to_str().expect("text");
    assert_eq!(run(&["check", "--config", config]).status.code(), Some(0));
    assert_eq!(run(&["infer", "p", config, "--config", config]).status.code(), Some(0));
    assert!(!recordings.exists());
    // When the recorder is switched on while the server runs, it records to the data folder.
    let server = site.serve().await;
    server.infer("p", "", "private").await;
    wait_for_recordings(&recordings.join("p"), 1).await;
    site.write_config("");
    let end = Instant::now() + Duration::from_secs(20);
    while server.app.pipeline("p").expect("served").recorder.is_some() {
        assert!(Instant::now() < end, "the recorder is not switched off");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The path of the recordings is a file.
    site.write_config("record = { dir = \"plimsoll.toml\" }");
    server.stop().await;
    let config = plimsoll::config::Config::load(Some(&site.config)).expect("valid");
    let refused = plimsoll::serve::App::open(&config).await.err().expect("refused").to_string();
    assert!(refused.contains("pipelines.p.record.dir: ") && refused.contains("cannot keep recordings"), "{refused}");
}

/// The rows of the table by stage (the second column).
fn by_stage(stdout: &str) -> BTreeMap<String, Vec<Vec<String>>> {
    let mut stages: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    for line in stdout.lines().skip(1) {
        let cells: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        stages.entry(cells[1].clone()).or_default().push(cells);
    }
    stages
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_are_replayed_with_the_same_and_with_another_version() {
    let site = Site::new("record = {}");
    let dir = site.folder.path().join(".plimsoll/recordings/p");
    // The first request of a process has the highest high-water mark so far, so it is kept. Each request needs a new
    // server.
    for (count, query) in [(1, "?do=grow"), (2, "?do=trap")] {
        let server = site.serve().await;
        assert_eq!(server.infer("p", query, "image").await.status, 200);
        wait_for_recordings(&dir, count).await;
        server.stop().await;
    }
    let (config, dir) = (site.config.to_str().expect("text"), dir.to_str().expect("text").to_owned());

    let output = run(&["replay", &dir, "--config", config]);
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}{}", text(&output.stderr));
    let stages = by_stage(&stdout);
    assert_eq!(stages.keys().collect::<Vec<_>>(), ["infer", "postprocess", "preprocess"]);
    for lines in stages.values() {
        assert_eq!(lines.len(), 2);
        for cells in lines {
            assert_eq!(
                (&cells[2], &cells[3]),
                (&cells[4], &cells[5]),
                "the same version has the same outcome: {stdout}"
            );
            assert_eq!((&cells[6], cells[8].as_str()), (&cells[7], "+0"), "{stdout}");
        }
    }

    // The other version allocates 8 MiB for the first recording, and traps on the second.
    let other = site.folder.path().join("other.wasm");
    fs::write(&other, stamped(9)).expect("written");
    let replaced = format!("stamp={}", other.display());
    let output = run(&["replay", &dir, "--config", config, "--plugin", &replaced]);
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}{}", text(&output.stderr));
    let stages = by_stage(&stdout);
    let digest = plimsoll_runtime::identity::digest(&stamped(9));
    let [grow, trap] = &stages["preprocess"][..] else { panic!("{stdout}") };
    assert!(grow[4].ends_with(&digest[..12]) && grow[2] != grow[4], "{stdout}");
    let difference = grow[8].parse::<i64>().expect("a number");
    assert!((8 << 20..9 << 20).contains(&difference), "{stdout}");
    assert_eq!((grow[5].as_str(), trap[3].as_str(), trap[5].as_str()), ("ok", "ok", "trap"), "{stdout}");
    let [_, absent] = &stages["infer"][..] else { panic!("{stdout}") };
    assert_eq!(&absent[4..], ["-", "-", absent[6].as_str(), "-", "-"], "no stage runs after the trap: {stdout}");

    // A recording that cannot be read is named, and the others are replayed.
    let names = files(Path::new(&dir), "json");
    fs::write(&names[0], "{").expect("written");
    let output = run(&["replay", &dir, "--config", config]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(by_stage(&text(&output.stdout))["preprocess"].len(), 1, "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("is not a valid Plimsoll recording"), "{}", text(&output.stderr));
    let empty = site.folder.path().join("plugins");
    for (arguments, code, words) in [
        (vec!["replay", &dir, "--config", config, "--chip", "x"], 1, "has no chip `x`; it has c"),
        (vec!["replay", &dir, "--config", config, "--plugin", "none=plimsoll.toml"], 2, "there is no file"),
        (vec!["replay", &dir, "--config", config, "--plugin", "stamp"], 2, "NAME=FILE.wasm"),
        (vec!["replay", empty.to_str().expect("text"), "--config", config], 1, "there are no recordings in"),
        (vec!["replay", "/no/such/folder", "--config", config], 1, "/no/such/folder cannot be read"),
    ] {
        let output = run(&arguments);
        let message = text(&output.stderr);
        assert!(output.status.code() == Some(code) && message.contains(words), "{arguments:?}: {message}");
    }
    let other = format!("other={}", other.display());
    let output = run(&["replay", &dir, "--config", config, "--plugin", &other]);
    assert!(text(&output.stderr).contains("no pipeline uses a plugin `other`"), "{}", text(&output.stderr));
}
