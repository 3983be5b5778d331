//! The recorder keeps the inputs that matter, within its bounds, for their owner only; `replay` runs them again.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use plimsoll_tests::{Server, Site, TempDir, guests_config, stamped};
use serde_json::Value;

use crate::cli::{run, text};

/// `tester` with a recorder in a folder of its own.
fn config(dir: &Path, bounds: &str) -> String {
    let table = format!("[pipelines.p.record]\ndir = {dir:?}\n{bounds}\n");
    guests_config("tester", "max_memory = \"32MiB\"\ndeadline = \"500ms\"") + &table
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

/// Waits until so many recordings are there.
async fn until_recorded(dir: &Path, count: usize) {
    until(|| files(dir, "json").len() == count, &format!("{count} recordings in {}", dir.display())).await;
}

async fn until(condition: impl Fn() -> bool, what: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_that_matter_are_kept_for_their_owner() {
    let folder = TempDir::new().expect("a folder");
    let dir = folder.path().join("deep/recordings");
    let server = Server::start(&config(&dir, "")).await;
    assert_eq!(fs::metadata(&dir).expect("made at start").permissions().mode() & 0o777, 0o700);
    // With each: why it is kept, or nothing.
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
        // A caller's id must not become a path.
        let headers = [("x-request-id", "../../evil"), ("content-type", "image/x-test"), ("x-plimsoll-caller", "acme")];
        server.send("POST", &path, &headers, format!("body {at}").into_bytes()).await;
        if !kept_for.is_empty() {
            wanted.push((at, kept_for));
            // In turn, so that the order on disk is that of the requests.
            until_recorded(&dir, wanted.len()).await;
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
async fn bytes_and_age_are_bounded_and_what_is_torn_goes() {
    const BODY: usize = 30_000;
    let folder = TempDir::new().expect("a folder");
    let dir = folder.path().to_owned();
    let server = Server::start(&config(&dir, "max_bytes = 100000")).await;
    let mut names = Vec::new();
    for turn in 0..8_u8 {
        server.infer("p", "?do=panic", vec![b'0' + turn; BODY]).await;
        let newest = || files(&dir, "json").last().filter(|path| !names.contains(*path)).cloned();
        until(|| newest().is_some(), "the newest is there").await;
        let newest = newest().expect("just seen");
        names.push(newest);
        let bytes: u64 =
            ["json", "body"].iter().flat_map(|extension| files(&dir, extension)).map(|path| size(&path)).sum();
        assert!(bytes <= 100_000, "{bytes} bytes after {turn}");
    }
    let bodies: Vec<_> = files(&dir, "body").iter().map(|path| fs::read(path).expect("read")[0]).collect();
    assert_eq!(bodies, *b"567", "the oldest went first");
    // Larger than all there may be: it is not kept, and pushes nothing out.
    server.infer("p", "?do=panic", vec![b'9'; 100_001]).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(files(&dir, "json").len(), 3);
    server.stop().await;

    let kept = files(&dir, "json");
    let old = SystemTime::now() - Duration::from_secs(8 * 24 * 60 * 60);
    fs::File::options().write(true).open(&kept[0]).and_then(|file| file.set_modified(old)).expect("set");
    let torn = dir.join("01a20c64-f40a-7247-af59-5dbb88958c5f.body");
    let draft = torn.with_extension("draft");
    let foreign = dir.join("notes.body");
    for path in [&torn, &draft, &foreign] {
        fs::write(path, "x").expect("written");
    }
    let server = Server::start(&config(&dir, "max_bytes = 100000")).await;
    until(|| !kept[0].exists(), "what is older than a week goes").await;
    assert!(kept[1].exists() && kept[2].exists());
    assert!(!torn.exists() && !draft.exists() && foreign.exists(), "{:?}", files(&dir, "body"));
    server.stop().await;
}

fn size(path: &Path) -> u64 {
    // One that was just replaced has none.
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_where_the_recorder_is_off() {
    let site = Site::new("");
    let server = site.serve().await;
    server.infer("p", "?do=grow", "private").await;
    server.stop().await;
    let recordings = site.folder.path().join(".plimsoll/recordings");
    assert!(site.folder.path().join(".plimsoll").is_dir() && !recordings.exists());
    // A check and a request without a server record nothing, either.
    site.write_config("record = {}");
    let config = site.config.to_str().expect("text");
    assert_eq!(run(&["check", "--config", config]).status.code(), Some(0));
    assert_eq!(run(&["infer", "p", config, "--config", config]).status.code(), Some(0));
    assert!(!recordings.exists());
    // Switched on while it serves: in the data folder.
    let server = site.serve().await;
    server.infer("p", "", "private").await;
    until_recorded(&recordings.join("p"), 1).await;
    site.write_config("");
    let end = Instant::now() + Duration::from_secs(20);
    while server.app.pipeline("p").expect("served").recorder.is_some() {
        assert!(Instant::now() < end, "it is switched off");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // A file stands in its way.
    site.write_config("record = { dir = \"plimsoll.toml\" }");
    server.stop().await;
    let config = plimsoll::config::Config::load(Some(&site.config)).expect("valid");
    let refused = plimsoll::serve::App::open(&config).await.err().expect("refused").to_string();
    assert!(refused.contains("pipelines.p.record.dir: ") && refused.contains("cannot keep recordings"), "{refused}");
}

/// The cells of a table by the stage that the line is about.
fn by_stage(stdout: &str) -> BTreeMap<String, Vec<Vec<String>>> {
    let mut stages: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    for line in stdout.lines().skip(1) {
        let cells: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        stages.entry(cells[1].clone()).or_default().push(cells);
    }
    stages
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_run_again_by_the_same_and_by_another_version() {
    let site = Site::new("record = {}");
    let dir = site.folder.path().join(".plimsoll/recordings/p");
    // The first of a process is the highest of its kind, so each is kept.
    for (count, query) in [(1, "?do=grow"), (2, "?do=trap")] {
        let server = site.serve().await;
        assert_eq!(server.infer("p", query, "image").await.status, 200);
        until_recorded(&dir, count).await;
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
            assert_eq!((&cells[2], &cells[3]), (&cells[4], &cells[5]), "the same version ends the same: {stdout}");
            assert_eq!((&cells[6], cells[8].as_str()), (&cells[7], "+0"), "{stdout}");
        }
    }

    // The other version takes 8 MiB for the first, and traps at the second.
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
    assert_eq!(&absent[4..], ["-", "-", absent[6].as_str(), "-", "-"], "after the trap nothing ran: {stdout}");

    // What cannot be run is named, and the rest is run.
    let names = files(Path::new(&dir), "json");
    fs::write(&names[0], "{").expect("written");
    let output = run(&["replay", &dir, "--config", config]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(by_stage(&text(&output.stdout))["preprocess"].len(), 1, "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("is no recording of this program"), "{}", text(&output.stderr));
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
