//! The leak laboratory: what its report says about sizes, allocators and stages, and which arguments it rejects. The
//! guests are in `tests/leaks`; its README describes the leak in each.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use plimsoll_tests::{TempDir, data, guest, guests_config};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_plimsoll-under-test");
/// The outcomes of [`corpus`], and those of them that are failures.
pub(crate) const ALL: &[&str] = &["ok", "unsupported_media_type", "invalid_input"];
pub(crate) const FAILING: &[&str] = &["unsupported_media_type", "invalid_input"];

/// Runs the laboratory; the reports are written to a temporary folder.
pub(crate) struct Laboratory {
    folder: TempDir,
}

impl Laboratory {
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().expect("a folder") }
    }

    /// The path of a file of the report.
    pub(crate) fn out(&self, file: &str) -> PathBuf {
        self.folder.path().join("out").join(file)
    }

    pub(crate) fn run(&self, plugin: &Path, corpus: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new(BINARY);
        command.arg("leak").arg(plugin).arg("--corpus").arg(corpus).arg("--out").arg(self.out("")).args(arguments);
        command.env_remove("RUST_LOG").output().expect("the binary starts")
    }

    pub(crate) fn report(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.out("report.json")).expect("a report")).expect("JSON")
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns true if all cases in Python and JavaScript run, not only a sample of them.
pub(crate) fn are_all_wanted() -> bool {
    std::env::var_os("PLIMSOLL_LEAK").is_some_and(|wanted| wanted == "all")
}

/// Prints the row of a case, from which `tests/leaks/table.sh` makes the table of all cases. `group` is its language, or
/// `planted` for the guests in `tests/leaks`.
pub(crate) fn print_row(group: &str, name: &str, exit_code: i32, is_right: bool) {
    println!("leak-case {group} {name} {exit_code} {}", if is_right { "right" } else { "wrong" });
}

/// A small corpus with large and small files for every outcome: valid files in `valid`, broken files in `abnormal`.
pub(crate) fn corpus() -> TempDir {
    let corpus = TempDir::new().expect("a folder");
    let put = |name: &str, bytes: &[u8]| {
        let path = corpus.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, bytes).expect("written");
    };
    put("notes.txt", b"files next to the subfolders are not inputs");
    for digit in 0..10 {
        let extension = if [3, 7].contains(&digit) { "jpg" } else { "png" };
        let bytes = std::fs::read(data(&format!("digits/{digit}.{extension}"))).expect("a digit");
        put(&format!("valid/{digit}.{extension}"), &bytes);
        put(&format!("abnormal/cut-{digit}.{extension}"), &bytes[..bytes.len() / 2]);
    }
    let mut large = vec![0xFF, 0xD8];
    large.resize(120_000, 0);
    large.extend([0xFF, 0xD9]);
    put("valid/large.jpg", &large);
    put("abnormal/empty", b"");
    put("abnormal/words.txt", b"this text isn't an image");
    put("abnormal/large.bin", &vec![b'x'; 150_000]);
    corpus
}

/// A corpus of one class, because each takes a run: broken images.
pub(crate) fn broken() -> TempDir {
    let corpus = TempDir::new().expect("a folder");
    for digit in 0..4 {
        let extension = if digit == 3 { "jpg" } else { "png" };
        let bytes = std::fs::read(data(&format!("digits/{digit}.{extension}"))).expect("a digit");
        std::fs::write(corpus.path().join(format!("{digit}.{extension}")), &bytes[..bytes.len() / 2]).expect("written");
    }
    corpus
}

/// A corpus of few files with every outcome.
pub(crate) fn few() -> TempDir {
    let corpus = broken();
    let valid = std::fs::read(data("digits/5.png")).expect("a digit");
    std::fs::write(corpus.path().join("5.png"), valid).expect("written");
    std::fs::write(corpus.path().join("words.txt"), "this text isn't an image").expect("written");
    corpus
}

/// The holder of most of the surviving bytes.
pub(crate) fn held_by(report: &Value) -> String {
    let mut holders: Vec<(String, u64)> = Vec::new();
    for group in report["groups"].as_array().expect("groups") {
        let holder = match (&group["chain"]["root"]["name"], &group["chain"]["root"]["address"]) {
            (Value::String(name), _) => format!("static {name}"),
            (_, Value::Number(address)) => format!("static at {address}"),
            _ if group["is_ring"] == true => "each other".to_owned(),
            _ => "nothing".to_owned(),
        };
        let bytes = group["bytes"].as_u64().expect("bytes");
        match holders.iter_mut().find(|(known, _)| *known == holder) {
            Some((_, sum)) => *sum += bytes,
            None => holders.push((holder, bytes)),
        }
    }
    holders.into_iter().max_by_key(|(_, bytes)| *bytes).map_or("-".to_owned(), |(holder, _)| holder)
}

/// What is wrong with the classes of a report. `leaks_on` are the outcomes that leak, `per_request` the bytes (or handles) of
/// a request.
pub(crate) fn wrong_classes(report: &Value, leaks_on: &[&str], per_request: (f64, f64)) -> Vec<String> {
    let mut wrong = Vec::new();
    for class in report["classes"].as_array().expect("classes") {
        let outcome = class["outcome"].as_str().expect("text");
        let leaks = class["verdict"] == "leaks";
        if leaks != leaks_on.contains(&outcome) {
            wrong.push(format!("{outcome}: {}", class["verdict"]));
        }
        let found = class["growth"]["bytes"].as_f64().expect("a number");
        if leaks && !(per_request.0..=per_request.1).contains(&found) {
            wrong.push(format!("{outcome}: {found} per request, expected {per_request:?}"));
        }
    }
    wrong
}

#[test]
fn a_leak_on_large_images_only_is_reported_with_their_size() {
    let (laboratory, corpus) = (Laboratory::new(), corpus());
    let output = laboratory.run(&guest("large_images"), corpus.path(), &[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let report = laboratory.report();
    let class = |outcome: &str, folder: &str| {
        let classes = report["classes"].as_array().expect("classes");
        classes.iter().find(|class| class["outcome"] == outcome && class["folder"] == folder).expect("a class").clone()
    };
    for (class, file, size) in [
        (class("ok", "valid"), "valid/large.jpg", 120_002),
        (class("unsupported_media_type", "abnormal"), "abnormal/large.bin", 150_000),
    ] {
        assert_eq!(class["verdict"], "leaks");
        let growing = &class["growing"];
        assert_eq!((&growing["samples"], &growing["example"]), (&1.into(), &file.into()), "{class}");
        assert_eq!(growing["smallest"], size);
        assert!(growing["largest_other"].as_u64() < Some(100_000), "{class}");
    }
    assert_eq!(class("invalid_input", "abnormal")["verdict"], "steady");
    assert_eq!(held_by(&report), "static large_images::PREVIEWS");
    let summary = text(&output.stdout);
    assert!(summary.contains("have 120,002 bytes or more"), "{summary}");
    print_row("planted", "large_images", 1, true);
}

#[test]
fn an_unknown_allocator_is_detected_and_reported() {
    let (laboratory, corpus) = (Laboratory::new(), corpus());
    let output = laboratory.run(&guest("other_allocator"), corpus.path(), &["--rounds", "32"]);
    assert_eq!(output.status.code(), Some(1), "{}{}", text(&output.stdout), text(&output.stderr));
    let report = laboratory.report();
    assert_eq!(report["heap_is_known"], false);
    let bytes = report["all"]["growth"]["bytes"].as_f64().expect("a number");
    assert!((6_400.0..=11_000.0).contains(&bytes), "{bytes}: linear memory grows in steps");
    let summary = text(&output.stdout);
    assert!(summary.contains("by linear memory") && summary.contains("not dlmalloc"), "{summary}");
    print_row("planted", "other_allocator", 1, true);
}

#[test]
fn later_stages_get_the_output_of_earlier_stages() {
    let (laboratory, corpus) = (Laboratory::new(), corpus());
    let config = corpus.path().join("plimsoll.toml");
    std::fs::write(&config, guests_config("steady", "")).expect("written");
    let pipeline = ["--config", config.to_str().expect("text"), "--pipeline", "p"];
    for (plugin, held, bytes) in [
        ("leaky_infer", "static leaky_infer::SUMMARIES", 640.0..680.0),
        ("leaky_postprocess", "static leaky_postprocess::ANSWERED", 2_048.0..2_150.0),
    ] {
        let output = laboratory.run(&guest(plugin), corpus.path(), &pipeline);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        let log = text(&output.stderr);
        // The eleven valid images reach these stages. Preprocessing rejects the others.
        assert!(log.contains("13 files of the corpus do not reach the stage"), "{log}");
        let report = laboratory.report();
        assert_eq!(report["samples"], 11);
        assert_eq!(held_by(&report), held);
        let found = report["all"]["growth"]["bytes"].as_f64().expect("a number");
        assert!(bytes.contains(&found), "{plugin}: {found}");
        print_row("planted", plugin, 1, true);
    }
    // It keeps what it has not seen before, and all images have the same tensor.
    let keep = [&pipeline[..], &["--parameter", "keep=contents"]].concat();
    let output = laboratory.run(&guest("leaky_infer"), corpus.path(), &keep);
    let summary = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{summary}{}", text(&output.stderr));
    assert!(summary.contains("(other contents)") && summary.contains("static leaky_infer::SEEN"), "{summary}");
    let leak = laboratory.report()["leaks"][0].clone();
    let bytes = leak["per_request"].as_f64().expect("a number");
    assert!(leak["place"] == "(other contents)" && (256.0..=300.0).contains(&bytes), "{leak}");
    let output = laboratory.run(&guest("leaky_infer"), corpus.path(), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("name the pipeline with --pipeline"), "{}", text(&output.stderr));
}

#[test]
fn a_leak_in_c_is_reported_with_the_names_of_its_source() {
    let plugin = guest("c_guest");
    if !plugin.is_file() {
        plimsoll_tests::skip("c-guest was not built without clang: install it and touch tests/build.rs");
        return;
    }
    let (laboratory, corpus) = (Laboratory::new(), corpus());
    let output = laboratory.run(&plugin, corpus.path(), &[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let report = laboratory.report();
    let bytes = report["all"]["growth"]["bytes"].as_f64().expect("a number");
    assert!((900.0..=945.0).contains(&bytes), "{bytes}");
    assert_eq!(held_by(&report), "static requests");
    let stack = &report["stacks"][0];
    let frame = stack["frames"].as_array().expect("frames").iter().find(|frame| frame["function"] == "remember");
    let frame = frame.unwrap_or_else(|| panic!("{stack}"));
    assert!(frame["file"].as_str().expect("a file").ends_with("requests.c"), "{frame}");
    assert!(frame["line"].as_u64() > Some(0), "{frame}");
    print_row("planted", "c_guest", 1, true);
}

#[test]
fn invalid_arguments_and_files_are_rejected_with_a_hint() {
    let (laboratory, corpus) = (Laboratory::new(), corpus());
    let empty = TempDir::new().expect("a folder");
    let assert_rejected = |plugin: &Path, corpus: &Path, arguments: &[&str], words: &str| {
        let output = laboratory.run(plugin, corpus, arguments);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(words), "{message}");
    };
    let plugin = guest("steady");
    assert_rejected(&plugin, corpus.path(), &["--rounds", "3"], "--rounds must be at least 4");
    assert_rejected(
        &plugin,
        corpus.path(),
        &["--kind", "infer"],
        "is not a plugin of kind `infer`. Exported kinds: preprocess",
    );
    assert_rejected(&plugin, corpus.path(), &["--parameter", "x"], "write it as NAME=VALUE");
    assert_rejected(&plugin, empty.path(), &[], "has no files; give a folder of inputs");
    assert_rejected(&plugin, &empty.path().join("none"), &[], "cannot be read");
    assert_rejected(&empty.path().join("none.wasm"), corpus.path(), &[], "none.wasm cannot be read");
    assert_rejected(&corpus.path().join("notes.txt"), corpus.path(), &[], "is not a component");
}

#[test]
fn a_corpus_of_which_every_sample_ends_the_instance_is_rejected() {
    let (laboratory, corpus) = (Laboratory::new(), corpus());
    let panics = ["--parameter", "do=panic", "--rounds", "4"];
    let output = laboratory.run(&guest("tester"), corpus.path(), &panics);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("every sample ends the instance"), "{}", text(&output.stderr));
}
