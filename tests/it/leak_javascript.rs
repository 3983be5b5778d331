//! Leaks in JavaScript: the cases of `tests/leaks/javascript` and `../shared/cases/leaks`. Each is a component of its own with an engine, and all engines
//! are the same, so each takes a minute to compile.

use std::path::{Path, PathBuf};
use std::process::Command;

use plimsoll_tests::{TempDir, shared};

use crate::leak::{ALL, Laboratory, are_all_wanted, corpus, print_row, text, wrong_classes};

/// What is true of a case.
struct Case {
    name: &'static str,
    /// The outcomes that leak; all others do not.
    leaks_on: &'static [&'static str],
    /// Bytes per request.
    per_request: (f64, f64),
    /// True if it runs by default. All cases run if `PLIMSOLL_LEAK` is `all`.
    is_sample: bool,
}

const CASES: &[Case] = &[
    Case { name: "js_plain", leaks_on: &[], per_request: (0.0, 0.0), is_sample: true },
    // The broken images of the corpus have 660 bytes on average, and 25 that the laboratory adds; an error has its own
    // objects.
    Case { name: "js_errors", leaks_on: &["invalid_input"], per_request: (600.0, 2_500.0), is_sample: true },
    // A number takes 18 bytes of a table that is full.
    Case { name: "set_of_numbers", leaks_on: ALL, per_request: (1_500.0, 2_200.0), is_sample: false },
    Case { name: "map_of_numbers", leaks_on: ALL, per_request: (16.0, 40.0), is_sample: false },
    Case { name: "set_bounded", leaks_on: &[], per_request: (0.0, 0.0), is_sample: false },
    Case { name: "js_good", leaks_on: &[], per_request: (0.0, 0.0), is_sample: false },
    Case { name: "js_map_lru", leaks_on: &[], per_request: (0.0, 0.0), is_sample: false },
    Case { name: "js_listeners", leaks_on: ALL, per_request: (5_000.0, 6_000.0), is_sample: false },
    // Its objects, in whole blocks of 4 KiB.
    Case { name: "js_map_small", leaks_on: ALL, per_request: (100.0, 800.0), is_sample: false },
];

/// Builds the component of a source. `None` if node is missing.
fn component(source: &Path, name: &str) -> Option<PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let script = repository.join("plugins/examples/build.sh");
    let tool = repository.join("target/examples/tools/javascript/node_modules/.bin/componentize-js");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("leak-javascript");
    std::fs::create_dir_all(&folder).expect("a folder");
    let installed = Command::new(script).arg("tools").output().expect("bash starts");
    let messages = text(&[installed.stdout, installed.stderr].concat());
    if installed.status.code() == Some(3) {
        plimsoll_tests::skip(&messages);
        return None;
    }
    assert!(installed.status.success(), "{messages}");
    let file = folder.join(format!("{name}.wasm"));
    let mut build = Command::new(tool);
    build.arg(source).arg("--wit").arg(repository.join("wit")).args(["--world-name", "preprocessor"]);
    build.args(["--disable", "http", "fetch-event", "random", "clocks", "--out"]).arg(&file);
    let output = build.output().expect("componentize-js starts");
    assert!(output.status.success(), "{}", text(&[output.stdout, output.stderr].concat()));
    Some(file)
}

#[test]
fn each_case_in_javascript_has_its_true_verdict_and_bytes() {
    let Some(cases) = shared("cases/leaks") else { return };
    let all = are_all_wanted();
    let corpus = corpus();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("leaks/javascript");
    let mut wrong = Vec::new();
    for case in CASES.iter().filter(|case| case.is_sample || all) {
        let file = format!("{}.js", case.name);
        let source = if own.join(&file).exists() { own.join(file) } else { cases.join(file) };
        let Some(plugin) = component(&source, case.name) else { return };
        let laboratory = Laboratory::new();
        let output = laboratory.run(&plugin, corpus.path(), &[]);
        let summary = text(&output.stdout);
        let expected = i32::from(!case.leaks_on.is_empty());
        if output.status.code() != Some(expected) {
            wrong.push(format!("{}: {:?}: {summary}{}", case.name, output.status.code(), text(&output.stderr)));
            continue;
        }
        let report = laboratory.report();
        let mut found = wrong_classes(&report, case.leaks_on, case.per_request);
        if report["collection"] != serde_json::json!({ "language": "JavaScript", "is_seen": true }) {
            found.push(format!("no collections: {}", report["collection"]));
        }
        // No words for authors of other languages.
        for word in ["Rust", "strip", "dlmalloc", "DWARF", "wasi-libc"] {
            if summary.contains(word) {
                found.push(format!("it speaks of {word}: {summary}"));
            }
        }
        if case.name == "js_errors" {
            // Each request leaves an error.
            let is_shown = |line: &str| line.contains("objects      Error × ") && line.contains("(1.0 per request)");
            if !summary.contains("survivor") || !summary.lines().any(is_shown) {
                found.push(format!("the survivors are not shown: {summary}"));
            }
        }
        print_row("JavaScript", case.name, expected, found.is_empty());
        wrong.extend(found.into_iter().map(|mistake| format!("{}: {mistake}", case.name)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The engine in this plugin has other numbers than those that the laboratory knows, so no collection can be seen.
#[test]
fn a_plugin_in_javascript_whose_collections_are_not_seen_has_no_verdict() {
    let Some(cases) = shared("cases/leaks") else { return };
    let Some(plugin) = component(&cases.join("js_plain.js"), "js_other_engine") else { return };
    let mut bytes = std::fs::read(&plugin).expect("built");
    let base = (38_u32 << 20).to_le_bytes();
    let mut changed = 0;
    for at in 0..bytes.len() - 4 {
        if bytes[at..at + 4] == base {
            bytes[at] = 1;
            changed += 1;
        }
    }
    assert!(changed > 0, "the number is in the data of the engine");
    std::fs::write(&plugin, bytes).expect("written");
    let (laboratory, folder) = (Laboratory::new(), TempDir::new().expect("a folder"));
    for name in ["a.jpg", "b.jpg"] {
        std::fs::write(folder.path().join(name), [0xFF, 0xD8, 0xFF, 0xD9]).expect("written");
    }
    let output = laboratory.run(&plugin, folder.path(), &[]);
    let summary = text(&output.stdout);
    assert_eq!(output.status.code(), Some(4), "{summary}{}", text(&output.stderr));
    assert!(summary.contains("UNKNOWN UNTIL A COLLECTION") && summary.contains("componentize-js"), "{summary}");
    assert_eq!(laboratory.report()["conclusion"], "uncollected");
    for word in ["Rust", "strip", "dlmalloc", "DWARF", "wasi-libc"] {
        assert!(!summary.contains(word), "{summary}");
    }
}
