//! The cases of `../shared/cases/leaks` in C, C++ and the text format, and the one with a manifest of its own. Those in Rust,
//! Python and JavaScript are in `leak_cases`, `leak_python` and `leak_javascript`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use plimsoll_tests::{TempDir, shared};

use crate::leak::{ALL, FAILING, Laboratory, corpus, held_by, print_row, text, wrong_classes};

/// What `wit-bindgen` calls the types in a world's own header, in the names of the SDK's header.
const NAMES: &str = "#include \"plimsoll.h\"\n#define preprocessor_list_u8_t plimsoll_list_u8_t\n\
    #define preprocessor_list_u8_free plimsoll_list_u8_free\n#define preprocessor_string_dup plimsoll_string_dup\n";

/// Builds a source with `plimsoll plugin build`. `None` if clang or a library is missing. `is_default`: with the layout of
/// memory that the linker has by default, in which statics are before the stack.
fn built(cases: &Path, source: &str, language: &str, is_default: bool, folder: &Path) -> Option<PathBuf> {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/sdk-c").canonicalize().expect("the SDK");
    fs::create_dir_all(folder.join("cp")).expect("a folder");
    fs::write(folder.join("cp/preprocessor.h"), NAMES).expect("written");
    for name in [source, "head.h"] {
        fs::copy(cases.join(name), folder.join(name)).expect("copied");
    }
    let manifest = format!(
        "name = \"case\"\nversion = \"0.1.0\"\nkind = \"preprocess\"\nlanguage = {language:?}\nsources = [{source:?}]\n\
         flags = [\"-O2\", \"-w\"]\nsdk = {:?}\n",
        sdk.to_str().expect("text")
    );
    fs::write(folder.join("plugin.toml"), manifest).expect("written");
    let mut build = Command::new(env!("CARGO_BIN_EXE_plimsoll-under-test"));
    if is_default {
        // clang leaves this argument out.
        build.env("CCC_OVERRIDE_OPTIONS", "# x-Wl,--stack-first");
    }
    let output = build.args(["plugin", "build"]).arg(folder).output().expect("it starts");
    let said = text(&[output.stdout, output.stderr].concat());
    if !output.status.success() && said.contains("needs clang") {
        plimsoll_tests::skip("plugins in C and C++ need clang, lld, wasi-libc and libc++-dev-wasm32");
        return None;
    }
    assert!(output.status.success(), "{said}");
    Some(folder.join("case.wasm"))
}

#[test]
fn leaks_in_c_and_cpp_are_reported_with_their_statics_and_functions() {
    let Some(cases) = shared("cases/leaks") else { return };
    let corpus = corpus();
    for (source, language, is_default, leaks_on, per_request, held, stack) in [
        ("c_realloc.c", "c", false, ALL, (60.8, 67.2), "static history", ["remember (", "/c_realloc.c:"]),
        ("c_realloc.c", "c", true, ALL, (60.8, 67.2), "static history", ["remember (", "/c_realloc.c:"]),
        // The bytes, the key and the entry of the table.
        ("cc_map.cpp", "c++", false, FAILING, (1_200.0, 1_400.0), "static by_key", ["keep(", "/cc_map.cpp:9"]),
    ] {
        let folder = TempDir::new().expect("a folder");
        let Some(plugin) = built(&cases, source, language, is_default, folder.path()) else { return };
        let laboratory = Laboratory::new();
        let output = laboratory.run(&plugin, corpus.path(), &[]);
        let summary = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{source}: {summary}{}", text(&output.stderr));
        let report = laboratory.report();
        let wrong = wrong_classes(&report, leaks_on, per_request);
        assert!(wrong.is_empty(), "{source}, default layout {is_default}: {wrong:?} {summary}");
        assert_eq!(held_by(&report), held, "{source}, default layout {is_default}: {summary}");
        let allocated = summary.lines().find(|line| line.trim_start().starts_with("allocated by")).expect("a stack");
        assert!(stack.iter().all(|part| allocated.contains(part)), "{source}: {summary}");
        let name = if is_default { format!("{source}-default-layout") } else { source.to_owned() };
        print_row(language, &name, 1, true);
    }
}

/// Runs a component in the text format. Returns the laboratory and the output.
fn run_text(cases: &Path, name: &str, arguments: &[&str]) -> (Laboratory, Output) {
    let (folder, corpus) = (TempDir::new().expect("a folder"), corpus());
    let plugin = folder.path().join(name).with_extension("wasm");
    fs::write(&plugin, wat::parse_file(cases.join(name)).expect("a component")).expect("written");
    let laboratory = Laboratory::new();
    let output = laboratory.run(&plugin, corpus.path(), arguments);
    (laboratory, output)
}

/// The memory of another core module grows by a page for each request.
#[test]
fn a_leak_in_a_second_memory_is_counted() {
    let Some(cases) = shared("cases/leaks") else { return };
    let (laboratory, output) = run_text(&cases, "two_mem_leak.wat", &["--no-trace"]);
    let summary = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{summary}{}", text(&output.stderr));
    let bytes = laboratory.report()["all"]["growth"]["bytes"].as_f64().expect("a number");
    assert!((bytes - 65_536.0).abs() < 1.0, "{bytes}: {summary}");
    print_row("wat", "two_mem_leak", 1, true);
}

/// A plugin of the same form throws an exception, and catches it.
#[test]
fn a_plugin_with_exceptions_is_run() {
    let Some(cases) = shared("cases/leaks") else { return };
    let (laboratory, output) = run_text(&cases, "p_exceptions.wat", &["--no-trace"]);
    let summary = text(&output.stdout);
    // Its allocator is its own, and its memory does not grow.
    assert_eq!(output.status.code(), Some(2), "{summary}{}", text(&output.stderr));
    let report = laboratory.report();
    assert_eq!(
        (&report["excluded"], &report["all"]["verdict"]),
        (&serde_json::json!([]), &"steady".into()),
        "{summary}"
    );
    print_row("wat", "p_exceptions", 2, true);
}

/// The manifest of the README, with a global allocator in a static arena: its blocks cannot be read, and nothing grows.
#[test]
fn the_manifest_of_the_readme_with_another_allocator_is_no_leak() {
    let Some(cases) = shared("cases/leaks") else { return };
    let case = cases.join("readme_talc");
    let project = Path::new(env!("CARGO_TARGET_TMPDIR")).join("leak-readme-talc");
    fs::create_dir_all(project.join("src")).expect("a folder");
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/sdk").canonicalize().expect("the SDK");
    let manifest = fs::read_to_string(case.join("Cargo.toml")).expect("a manifest");
    let manifest = manifest.replace("path/to/plugins/sdk", sdk.to_str().expect("text")) + "\n[workspace]\n";
    fs::write(project.join("Cargo.toml"), manifest).expect("written");
    fs::copy(case.join("src/lib.rs"), project.join("src/lib.rs")).expect("copied");
    let mut cargo = Command::new("cargo");
    cargo.current_dir(&project).args(["build", "--target", "wasm32-wasip2"]);
    for variable in crate::plugin_new::OUTER_BUILD {
        cargo.env_remove(variable);
    }
    let output = cargo.arg("--target-dir").arg(project.join("target")).output().expect("cargo starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (laboratory, corpus) = (Laboratory::new(), corpus());
    let plugin = project.join("target/wasm32-wasip2/debug/bmin1.wasm");
    let output = laboratory.run(&plugin, corpus.path(), &["--no-trace"]);
    let summary = text(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{summary}{}", text(&output.stderr));
    assert_eq!(laboratory.report()["excluded"], serde_json::json!([]), "{summary}");
    print_row("Rust", "readme_talc", 2, true);
}
