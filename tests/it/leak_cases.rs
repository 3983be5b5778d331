//! Plugins on which the laboratory once was wrong (`../shared/cases/leaks`): each has the verdict, the bytes and the holder
//! that are true. The numbers are those of the sources: what a request keeps, or what the file's first line says.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use plimsoll_tests::shared;
use serde_json::Value;

use crate::leak::{ALL, FAILING, Laboratory, corpus, held_by, print_row, text, wrong_classes};

/// What is true of a plugin.
struct Case {
    name: &'static str,
    /// 0: no leak, 1: leaks, 2: the allocator is not known.
    exit_code: i32,
    /// The outcomes that leak; all others do not.
    leaks_on: &'static [&'static str],
    /// Bytes (or handles) per request: from the requested size to the size of the allocated block.
    per_request: (f64, f64),
    /// The static that holds the blocks; empty if they are not on the heap.
    held_by: &'static str,
    /// More arguments.
    arguments: &'static [&'static str],
}

const fn leaks(
    name: &'static str,
    leaks_on: &'static [&'static str],
    per_request: (f64, f64),
    held_by: &'static str,
) -> Case {
    Case { name, exit_code: 1, leaks_on, per_request, held_by, arguments: &[] }
}

const fn ends(name: &'static str, exit_code: i32) -> Case {
    Case { name, exit_code, leaks_on: &[], per_request: (0.0, 0.0), held_by: "", arguments: &[] }
}

const CASES: &[Case] = &[
    // Keyed by content: only new bytes make it grow. The table doubles: up to 40 bytes for each entry. One of three
    // unsupported files is empty, so it is always the same.
    leaks("content_cache", ALL, (500.0 * 2.0 / 3.0, 550.0), "content_cache::BY_CONTENT"),
    ends("batch_flush", 0),
    // Beside a cache that fills: blocks of 100 bytes, and 12 bytes in the vector that lists them.
    leaks("cache50_and_leak", ALL, (112.0, 125.0), "cache50_and_leak::LEAK"),
    leaks("cache_and_leak", ALL, (112.0, 125.0), "cache_and_leak::LEAK"),
    leaks("own_grow", &["invalid_input"], (65_536.0, 65_536.0), ""),
    ends("alloc_talc", 2),
    ends("steady_talc", 2),
    ends("steady_lol", 2),
    ends("alloc_lol_good", 2),
    ends("steady_dlm", 0),
    // Handles: a stream; a stream and a pollable.
    leaks("stream_handles", ALL, (1.0, 1.0), ""),
    leaks("pollables", ALL, (2.0, 2.0), ""),
    // A tensor of 12,288 bytes.
    leaks("tensor_err", FAILING, (12_288.0, 12_288.0 * 1.05), ""),
    leaks("error_chain", FAILING, (712.0, 712.0 * 1.05), "error_chain::LAST"),
    leaks("listeners", ALL, (920.0, 920.0 * 1.05), "listeners::LISTENERS"),
    leaks("slab_kept", &["unsupported_media_type"], (916.0, 916.0 * 1.05), "slab_kept::SESSIONS"),
    leaks("nm_mutex_boxdyn", ALL, (520.0, 520.0 * 1.05), "nm_mutex_boxdyn::LEAKY"),
    leaks("nm_mutex_opt_box", ALL, (516.0, 516.0 * 1.06), "nm_mutex_opt_box::LEAKY"),
    // Containers and arenas that double.
    leaks("tiny_push8", ALL, (8.0 * 0.95, 8.0 * 1.05), "tiny_push8::SIZES"),
    leaks("bumpalo_kept", FAILING, (3_000.0 * 0.95, 3_000.0 * 1.05), "bumpalo_kept::SCRATCH"),
    leaks("typed_arena_kept", ALL, (64.0 * 0.95, 64.0 * 1.05), "typed_arena_kept::HEADERS"),
    leaks("errmap_extend", FAILING, (256.0 * 0.95, 256.0 * 1.05), "errmap_extend::BY_ERROR"),
    // A table that fills ever more slowly.
    ends("coupon", 0),
    // From the 1,001st call on: a class whose run ends soon after is only warming up.
    Case { held_by: "after_1000::RING", ..ends("after_1000", 1) },
    // 4,000 bytes of one request of 50, by chance: a class with few calls may show none.
    ends("one_in_50_random", 1),
    // A graph and a context.
    Case { arguments: &["--pipeline", "digits"], ..leaks("nn_contexts", &["ok"], (2.0, 2.0), "") },
];

/// The cases that run by default: each kind of verdict, of what grows and of what holds it. All run if `PLIMSOLL_LEAK` is
/// `all`.
const SAMPLE: &[&str] = &[
    "content_cache",
    "batch_flush",
    "cache_and_leak",
    "own_grow",
    "alloc_talc",
    "steady_dlm",
    "stream_handles",
    "tensor_err",
    "listeners",
    "nm_mutex_opt_box",
    "typed_arena_kept",
    "errmap_extend",
    "coupon",
    "after_1000",
    "one_in_50_random",
    "nn_contexts",
];

/// The cases that run.
fn wanted() -> impl Iterator<Item = &'static Case> {
    let are_all_wanted = crate::leak::are_all_wanted();
    CASES.iter().filter(move |case| are_all_wanted || SAMPLE.contains(&case.name))
}

/// Builds the sources. Returns the folder of their components.
pub(crate) fn build(cases: &Path) -> PathBuf {
    let project = Path::new(env!("CARGO_TARGET_TMPDIR")).join("leak-cases");
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/sdk").canonicalize().expect("the SDK");
    let template = include_str!("../data/leak-cases/Cargo.toml");
    let mut manifest = template.replace("\"SDK\"", &format!("{:?}", sdk.to_str().expect("text")));
    for folder in ["src", "examples"] {
        fs::create_dir_all(project.join(folder)).expect("a folder");
    }
    fs::copy(cases.join("h4_lib.rs"), project.join("src/lib.rs")).expect("copied");
    for case in wanted() {
        let file = format!("{}.rs", case.name);
        fs::copy(cases.join(&file), project.join("examples").join(&file)).expect("copied");
        let _ = write!(manifest, "\n[[example]]\nname = {:?}\ncrate-type = [\"cdylib\"]\n", case.name);
    }
    fs::write(project.join("Cargo.toml"), manifest).expect("written");
    fs::write(project.join("Cargo.lock"), include_str!("../data/leak-cases/Cargo.lock")).expect("written");
    let mut cargo = Command::new("cargo");
    cargo.current_dir(&project).args(["build", "--release", "--locked", "--examples", "--target", "wasm32-wasip2"]);
    for variable in crate::plugin_new::OUTER_BUILD {
        cargo.env_remove(variable);
    }
    let output = cargo.arg("--target-dir").arg(project.join("target")).output().expect("cargo starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    project.join("target/wasm32-wasip2/release/examples")
}

/// What is wrong with the report of a case.
fn mistakes(case: &Case, report: &Value) -> Vec<String> {
    // Where a leak is rare or begins late, classes with fewer calls may not show it.
    let are_classes_known = case.exit_code != 1 || !case.leaks_on.is_empty();
    let mut wrong = if are_classes_known { wrong_classes(report, case.leaks_on, case.per_request) } else { Vec::new() };
    let held = held_by(report);
    if !case.held_by.is_empty() && held != format!("static {}", case.held_by) {
        wrong.push(format!("held by {held}, expected {}", case.held_by));
    }
    wrong
}

#[test]
fn each_case_has_its_true_verdict_bytes_and_holder() {
    let Some(cases) = shared("cases/leaks") else { return };
    let (folder, corpus) = (build(&cases), corpus());
    let mut wrong = Vec::new();
    for case in wanted() {
        let laboratory = Laboratory::new();
        let plugin = folder.join(format!("{}.wasm", case.name));
        let output = laboratory.run(&plugin, corpus.path(), &[&["--no-trace"], case.arguments].concat());
        if output.status.code() != Some(case.exit_code) {
            let said = text(&output.stdout) + &text(&output.stderr);
            wrong.push(format!("{}: {:?}, expected {}: {said}", case.name, output.status.code(), case.exit_code));
            continue;
        }
        let mut found = mistakes(case, &laboratory.report());
        if case.name == "own_grow" && !text(&output.stdout).contains("It is grown in own_grow::grow_page (") {
            found.push(format!("the function is not named: {}", text(&output.stdout)));
        }
        print_row("Rust", case.name, case.exit_code, found.is_empty());
        wrong.extend(found.into_iter().map(|mistake| format!("{}: {mistake}", case.name)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
