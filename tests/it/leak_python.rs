//! Leaks in Python: the incident, its mends, and what only looks like a leak (`tests/leaks/python/leak_cases.py`). All
//! cases are in one component, which is compiled once. The cases of `../shared/cases/leaks` are components of their own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use plimsoll_tests::{TempDir, shared};
use serde_json::Value;

use crate::leak::{ALL, FAILING, Laboratory, are_all_wanted, corpus, few, held_by, print_row, text, wrong_classes};
use crate::leak_incident::read_profile;

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
    leaks("lru_none", ALL, (IMAGE, 1.08 * IMAGE), "head_of", " (lru_cache)[…] (bytearray, 4,000)"),
    leaks("closure", ALL, (IMAGE, 1.08 * IMAGE), "LISTENERS", "[…].__closure__[…].cell_contents (bytearray, 4,000)"),
    leaks("generator", ALL, (IMAGE, 1.08 * IMAGE), "STREAMS", "[…] → chunks: image (bytearray, 4,000)"),
    leaks("thread_local", ALL, (IMAGE, 1.05 * IMAGE), "LOCAL", "(bytearray, 4,000)"),
    leaks("context_chain", FAILING, (IMAGE, 1.08 * IMAGE), "LAST", ".args[…] (bytearray, 4,000)"),
    leaks("cause_chain", FAILING, (IMAGE, 1.08 * IMAGE), "LAST", ".args[…] (bytearray, 4,000)"),
    leaks("slots", ALL, (IMAGE, 1.08 * IMAGE), "SESSIONS", "[…].image (bytearray, 4,000)"),
    leaks("attributes", ALL, (IMAGE, 1.08 * IMAGE), "RECORDS", "[…].image (bytearray, 4,000)"),
    leaks("bound_method", ALL, (IMAGE, 1.08 * IMAGE), "CALLBACKS", "[…].__self__.image (bytearray, 4,000)"),
    leaks("set_of_records", ALL, (IMAGE, 1.08 * IMAGE), "SEEN", "[…].image (bytearray, 4,000)"),
    leaks("deque", ALL, (IMAGE, 1.05 * IMAGE), "QUEUE", "(bytearray, 4,000)"),
    // A value of 117 bytes, its number, a node of the order, and an entry of the dict.
    leaks("ordered", ALL, (150.0, 240.0), "ORDERED", "(bytes, 100)"),
    // A text of 28 characters that are not all ASCII, and its copy in UTF-8.
    leaks("messages", INVALID, (90.0, 160.0), "MESSAGES", "(str, 31)"),
    leaks("annotated", ALL, (IMAGE, 1.2 * IMAGE), "CHECKS", ".__closure__[…].cell_contents (bytearray, 4,000)"),
    leaks("exception_group", FAILING, (IMAGE, 1.15 * IMAGE), "GROUPS", "(bytearray, 4,000)"),
    leaks("warned", ALL, (100.0, 300.0), "__warningregistry__", ""),
    no_leak("patterns"),
    no_leak("weak_values"),
    no_leak("interned"),
    no_leak("context_variable"),
];

/// The files of `../shared/cases/leaks`. Bytes per request of the corpus, whose broken images have 660 bytes on average, and 25
/// that the laboratory adds. `py_lru_none` keeps two copies of 2,000 bytes.
const SHARED: &[Case] = &[
    leaks("py_incident", INVALID, (1_370.0, 2_100.0), "TRUNCATED", ".tb_frame → read_image: image (bytearray, "),
    leaks("py_incident_count", INVALID, (1_370.0, 2_100.0), "TRUNCATED", ".tb_frame → read_image: image (bytearray, "),
    leaks("py_lru_none", ALL, (4_000.0, 4_200.0), "head_of", " (lru_cache)[…] (bytearray, 2,000)"),
    leaks("py_small", FAILING, (220.0, 250.0), "FAILURES", "[…]"),
];

/// The cases that run by default, because a case takes half a minute: exceptions that keep frames, their mend, garbage in
/// cycles, and storage that C code keeps. All run if `PLIMSOLL_LEAK` is `all`.
const SAMPLE: &[&str] = &["incident", "mended_by_new", "cycles", "ordered"];

/// Builds the component of a module from sources: names and contents. `None` if Python is not installed.
fn component(module: &str, sources: &[(&str, String)]) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("leak-python").join(module);
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
    for (name, contents) in sources {
        std::fs::write(source.join(name), contents).expect("written");
    }
    let file = folder.join(format!("{module}.wasm"));
    let mut build = Command::new(venv.join("bin/componentize-py"));
    build.env("VIRTUAL_ENV", &venv).arg("--quiet").arg("--wit-path").arg(repository.join("wit"));
    build.args(["--world", "plimsoll:stage/preprocessor", "componentize", module, "--python-path"]);
    let built = run(build.arg(&source).arg("--output").arg(&file)).expect("componentize-py starts");
    assert!(built.status.success(), "{}", text(&built.stderr));
    Some(file)
}

/// What is wrong with the report of a case.
fn mistakes(case: &Case, module: &str, report: &Value, summary: &str) -> Vec<String> {
    let mut wrong = wrong_classes(report, case.leaks_on, case.per_request);
    if case.leaks_on.is_empty() {
        if report["all"]["verdict"] != "steady" {
            wrong.push(format!("all: {}", report["all"]["verdict"]));
        }
        return wrong;
    }
    let held = held_by(report);
    if held != format!("static {module}.{}", case.held_by) {
        wrong.push(format!("held by {held}, expected {}", case.held_by));
    }
    let line = format!("held by      {module}.{}", case.held_by);
    if !summary.lines().any(|shown| shown.contains(&line) && shown.contains(case.chain)) {
        wrong.push(format!("the chain is not shown: {summary}"));
    }
    if case.name == "incident" {
        wrong.extend(wrong_stack(report, summary));
    }
    // A word that is left in a block of the interpreter is no holder.
    let is_foreign = |line: &&str| line.trim_start().starts_with("held by") && !line.contains(&format!(" {module}."));
    if case.name == "ordered"
        && let Some(line) = summary.lines().find(is_foreign)
    {
        wrong.push(format!("another holder than the plugin: {line}"));
    }
    // Each block belongs to an object.
    for leak in report["leaks"].as_array().expect("leaks") {
        let holders = leak["holders"].as_array().expect("holders");
        if holders.iter().any(|holder| holder.as_str().is_none_or(|holder| holder.starts_with("nothing"))) {
            wrong.push(format!("held by {holders:?}: {summary}"));
        }
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
    let module = "leak_cases";
    let source = include_str!("../leaks/python/leak_cases.py").to_owned();
    let Some(plugin) = component(module, &[("leak_cases.py", source)]) else { return };
    let (corpus, few, cache) = (corpus(), few(), TempDir::new().expect("a folder"));
    let mut wrong = Vec::new();
    for case in CASES.iter().filter(|case| SAMPLE.contains(&case.name) || are_all_wanted()) {
        // What leaks on all outcomes takes a run for each class.
        let corpus = if case.leaks_on == ALL && !are_all_wanted() { &few } else { &corpus };
        let parameter = format!("case={}", case.name);
        let cache = cache.path().to_str().expect("text");
        let arguments = ["--rounds", "4", "--cache", cache, "--parameter", &parameter];
        wrong.extend(run(case, module, &plugin, corpus.path(), &arguments));
    }
    assert_none(&wrong);
    crate::leak_python_versions::check(&plugin, IMAGE..1.5 * IMAGE);
}

/// Ignored in CI only for its time: each case compiles an interpreter of its own. The cases of the project above are of the
/// same kinds and share one interpreter; a sample of them runs in CI.
#[test]
#[ignore = "takes many minutes; run it with `-- --ignored`"]
fn each_shared_case_in_python_has_its_true_verdict_bytes_and_chain() {
    let Some(cases) = shared("cases/leaks") else { return };
    let read = |name: &str| std::fs::read_to_string(cases.join(name)).expect("a case");
    let corpus = corpus();
    let mut wrong = Vec::new();
    for case in SHARED {
        let file = format!("{}.py", case.name);
        let sources = [(file.as_str(), read(&file)), ("common.py", read("common.py"))];
        let Some(plugin) = component(case.name, &sources) else { return };
        wrong.extend(run(case, case.name, &plugin, corpus.path(), &["--rounds", "4"]));
    }
    assert_none(&wrong);
}

/// Asserts that nothing is wrong. The message of the panic has only the beginning of each mistake, so that it is seen.
fn assert_none(wrong: &[String]) {
    wrong.iter().for_each(|mistake| eprintln!("{mistake}"));
    let beginnings: Vec<String> = wrong.iter().map(|mistake| mistake.chars().take(150).collect()).collect();
    assert!(wrong.is_empty(), "{beginnings:?}");
}

/// Runs a case. Returns what is wrong.
fn run(case: &Case, module: &str, plugin: &Path, corpus: &Path, arguments: &[&str]) -> Vec<String> {
    let laboratory = Laboratory::new();
    let output = laboratory.run(plugin, corpus, arguments);
    let summary = text(&output.stdout);
    let expected = i32::from(!case.leaks_on.is_empty());
    if output.status.code() != Some(expected) {
        return vec![format!("{}: {:?}: {summary}{}", case.name, output.status.code(), text(&output.stderr))];
    }
    let mut report = laboratory.report();
    report["dot"] = laboratory.out("retention.dot").to_str().expect("text").into();
    let mut found = mistakes(case, module, &report, &summary);
    // The runtime's own growth is named, and is not the plugin's.
    if !summary.contains("componentize-py's runtime, not your code") || summary.contains("strip") {
        found.push(format!("the remarks are not those for Python: {summary}"));
    }
    if case.name == "incident" {
        found.extend(wrong_types(&laboratory, &report));
        let samples = read_profile(&laboratory.out("heap.pb.gz")).map(|profile| profile["samples"].clone());
        let frames = |sample: &Value| sample["frames"].to_string();
        let is_of_image =
            |sample: &Value| frames(sample).contains("read_image") && frames(sample).contains("leak_cases.py");
        if samples.is_some_and(|samples| !samples.as_array().expect("samples").iter().any(is_of_image)) {
            found.push("heap.pb.gz has no function of Python".to_owned());
        }
    }
    print_row("Python", case.name, expected, found.is_empty());
    found.into_iter().map(|mistake| format!("{}: {mistake}", case.name)).collect()
}

/// What is wrong with the types of the incident: each request leaves one image, in each round.
fn wrong_types(laboratory: &Laboratory, report: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let types = report["types"].as_array().expect("types");
    let image = types.iter().find(|ty| ty["name"] == "bytearray").expect("the images");
    let rounds = image["rounds"].as_array().expect("rounds");
    let requests = report["classes"][image["class"].as_u64().expect("a class") as usize]["samples"].clone();
    // A block that was free for a moment in one call, and is of the same size again, is not seen as a new one. In the first round the
    // interpreter frees some of 32 bytes, so the object of an image may be missing there, but no image.
    let [first, second] = [0, 1].map(|round: usize| rounds[round]["bytes"].as_u64().expect("bytes"));
    let is_first = first.abs_diff(second) <= 32;
    if rounds.len() as u64 != report["rounds"] || !is_first || rounds[1..].iter().any(|it| it["blocks"] != requests) {
        wrong.push(format!("not {requests} images in each round: {image}"));
    }
    // An image, the block's rest and the object of 32 bytes.
    let per_request = image["per_request"].as_f64().expect("a number");
    if !(685.0..=740.0).contains(&per_request) {
        wrong.push(format!("{per_request} bytes per request are bytearrays"));
    }
    let read = |name: &str| std::fs::read_to_string(laboratory.out(name)).expect("a file");
    let csv = read("growth.csv");
    let mut rows = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = rows.next().expect("a head");
    let column = |name: &str| head.iter().position(|column| *column == name).expect("a column");
    let (outcome, kept) = (column("outcome"), column("kept_bytes of bytearray"));
    let is_wrong =
        |row: &Vec<&str>| (row[outcome] == "invalid_input") != (row[kept].parse::<u64>().expect("bytes") > 500);
    if let Some(row) = rows.find(is_wrong) {
        wrong.push(format!("growth.csv: {row:?}"));
    }
    let page = read("report.html");
    if !page.contains("Which Python objects leak?") || !page.contains("objects (bytes) after round 1") {
        wrong.push("report.html has no table of types".to_owned());
    }
    // The function of the plugin and those of the interpreter below it.
    let flame = read("flame.svg");
    if !flame.contains("read_image") || !flame.contains("PyByteArray") && !flame.contains("bytearray___init__") {
        wrong.push("flame.svg has no native functions".to_owned());
    }
    wrong
}
