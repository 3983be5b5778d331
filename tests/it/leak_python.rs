//! Leaks in Python: the incident, its mends, and what only looks like a leak (`tests/leaks/python/leak_cases.py`). All
//! cases are in one component, which is compiled once.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use plimsoll_tests::TempDir;
use serde_json::Value;

use crate::leak::{ALL, FAILING, Laboratory, corpus, held_by, text, wrong_classes};

const INVALID: &[&str] = &["invalid_input"];
/// Bytes of the image that the cases keep.
const IMAGE: f64 = 4_000.0;

/// What is true of a case.
struct Case {
    name: &'static str,
    /// The outcomes that leak; all others do not.
    leaks_on: &'static [&'static str],
    /// Bytes per request.
    per_request: (f64, f64),
    /// The global that holds the objects.
    held_by: &'static str,
    /// What the report says about the chain.
    chain: &'static str,
}

const fn leaks(
    name: &'static str,
    leaks_on: &'static [&'static str],
    per_request: (f64, f64),
    held_by: &'static str,
    chain: &'static str,
) -> Case {
    Case { name, leaks_on, per_request, held_by, chain }
}

const fn no_leak(name: &'static str) -> Case {
    Case { name, leaks_on: &[], per_request: (0.0, 0.0), held_by: "", chain: "" }
}

const CASES: &[Case] = &[
    // The images of the corpus have 714 bytes on average. Each is kept twice (`body` and `image`), with three frames, two
    // tracebacks and the request.
    leaks("incident", INVALID, (1_428.0, 2_400.0), "TRUNCATED", ".tb_frame → read_image: image (bytearray, "),
    no_leak("mended_by_reset"),
    no_leak("mended_by_new"),
    no_leak("no_leak"),
    no_leak("cycles"),
    no_leak("lru_bounded"),
    leaks("module_list", INVALID, (IMAGE, 1.08 * IMAGE), "HISTORY", "[…]['image'] (bytearray, 4,000)"),
    leaks("module_dict", ALL, (IMAGE, 1.05 * IMAGE), "BY_NUMBER", "[…] (bytearray, 4,000)"),
    leaks("small", FAILING, (220.0, 240.0), "FAILURES", "[…]"),
    leaks("thread_local", ALL, (IMAGE, 1.05 * IMAGE), "LOCAL", "(bytearray, 4,000)"),
    leaks("context_chain", FAILING, (IMAGE, 1.08 * IMAGE), "LAST", ".args[…] (bytearray, 4,000)"),
];

/// The cases that run by default, because a case takes half a minute. All run if `PLIMSOLL_LEAK_PYTHON` is `all`.
const SAMPLE: &[&str] = &["incident", "mended_by_new", "cycles", "small"];

/// Returns true if a case runs.
fn is_wanted(case: &Case) -> bool {
    SAMPLE.contains(&case.name) || std::env::var_os("PLIMSOLL_LEAK_PYTHON").is_some_and(|wanted| wanted == "all")
}

/// Builds the component. `None` if Python is not installed.
fn component() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("leak-python");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let run = |command: &mut Command| -> Option<Output> { command.output().ok() };
    let venv = folder.join("venv");
    let is_ready =
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv)).is_some_and(|output| output.status.success());
    if !is_ready {
        plimsoll_tests::skip("python3 with its module venv is not installed");
        return None;
    }
    let requirements = repository.join("plugins/examples/python/requirements.txt");
    let install = ["install", "--quiet", "--disable-pip-version-check", "--requirement"];
    let installed = run(Command::new(venv.join("bin/pip")).args(install).arg(requirements)).expect("pip starts");
    assert!(installed.status.success(), "{}", text(&installed.stderr));
    // A copy, because importing a module writes its bytecode next to it.
    let source = folder.join("source");
    std::fs::create_dir_all(&source).expect("a folder");
    std::fs::write(source.join("leak_cases.py"), include_str!("../leaks/python/leak_cases.py")).expect("written");
    let file = folder.join("leak_cases.wasm");
    let mut build = Command::new(venv.join("bin/componentize-py"));
    build.env("VIRTUAL_ENV", &venv).arg("--quiet").arg("--wit-path").arg(repository.join("wit"));
    build.args(["--world", "plimsoll:stage/preprocessor", "componentize", "leak_cases", "--python-path"]);
    let built = run(build.arg(&source).arg("--output").arg(&file)).expect("componentize-py starts");
    assert!(built.status.success(), "{}", text(&built.stderr));
    Some(file)
}

/// What is wrong with the report of a case.
fn mistakes(case: &Case, report: &Value, summary: &str) -> Vec<String> {
    let mut wrong = wrong_classes(report, case.leaks_on, case.per_request);
    if case.leaks_on.is_empty() {
        if report["all"]["verdict"] != "steady" {
            wrong.push(format!("all: {}", report["all"]["verdict"]));
        }
        return wrong;
    }
    let held = held_by(report);
    if held != format!("static leak_cases.{}", case.held_by) {
        wrong.push(format!("held by {held}, expected {}", case.held_by));
    }
    let line = format!("held by      leak_cases.{}", case.held_by);
    if !summary.lines().any(|shown| shown.contains(&line) && shown.contains(case.chain)) {
        wrong.push(format!("the chain is not shown: {summary}"));
    }
    if case.name == "incident" {
        wrong.extend(wrong_stack(report, summary));
    }
    if !std::fs::read_to_string(report["dot"].as_str().expect("a path")).expect("a graph").contains(case.held_by) {
        wrong.push("the global is not in the graph".to_owned());
    }
    wrong
}

/// What is wrong with the call stacks of the incident: the image is allocated by its function, at its line.
fn wrong_stack(report: &Value, summary: &str) -> Option<String> {
    let source = include_str!("../leaks/python/leak_cases.py");
    let line = source.lines().position(|line| line.contains("image = bytearray(body)")).expect("a line") + 1;
    let frames = report["stacks"].as_array().expect("stacks").iter().map(|stack| &stack["frames"][0]);
    let mut of_image = frames.filter(|frame| frame["function"] == "read_image" && frame["line"] == line);
    let is_right = of_image.next().is_some_and(|frame| frame["file"] == "leak_cases.py")
        && summary.contains(&format!("allocated by read_image (leak_cases.py:{line})"))
        && summary.contains("← incident (leak_cases.py:");
    (!is_right).then(|| format!("the line that allocated the image is not shown: {summary}"))
}

#[test]
fn each_case_in_python_has_its_true_verdict_bytes_and_chain() {
    let Some(plugin) = component() else { return };
    let (corpus, cache) = (corpus(), TempDir::new().expect("a folder"));
    let mut wrong = Vec::new();
    for case in CASES.iter().filter(|case| is_wanted(case)) {
        let laboratory = Laboratory::new();
        let parameter = format!("case={}", case.name);
        let cache = cache.path().to_str().expect("text");
        let output =
            laboratory.run(&plugin, corpus.path(), &["--rounds", "4", "--cache", cache, "--parameter", &parameter]);
        let summary = text(&output.stdout);
        let expected = i32::from(!case.leaks_on.is_empty());
        if output.status.code() != Some(expected) {
            wrong.push(format!("{}: {:?}: {summary}{}", case.name, output.status.code(), text(&output.stderr)));
            continue;
        }
        let mut report = laboratory.report();
        report["dot"] = laboratory.out("retention.dot").to_str().expect("text").into();
        let mut found = mistakes(case, &report, &summary);
        // The runtime's own growth is named, and is not the plugin's.
        if !summary.contains("componentize-py's runtime, not your code") || summary.contains("strip") {
            found.push(format!("the remarks are not those for Python: {summary}"));
        }
        println!("{:<20} {} {}", case.name, expected, if found.is_empty() { "right" } else { "wrong" });
        wrong.extend(found.into_iter().map(|mistake| format!("{}: {mistake}", case.name)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
