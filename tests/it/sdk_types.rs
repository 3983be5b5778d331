//! The types of the SDK for JavaScript, as an editor reads them: judged by the compiler of TypeScript.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use plimsoll_tests::TempDir;

use crate::cli::{run, text};

/// Compared with the lines of `wrong.ts`, so a new version may judge them in another way.
const TYPESCRIPT: &str = "typescript@7.0.2";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The compiler, which npm installs once below `target`. `None` if it cannot.
fn compiler() -> Option<PathBuf> {
    let folder = root().join("target/typescript");
    fs::create_dir_all(&folder).expect("writable");
    let lock = fs::File::create(folder.with_extension("lock")).expect("writable");
    lock.lock().expect("locked");
    let compiler = folder.join("node_modules/.bin/tsc");
    let version = |output: std::process::Output| text(&output.stdout).trim().replace("Version ", "typescript@");
    let found = || Command::new(&compiler).arg("--version").output().is_ok_and(|output| version(output) == TYPESCRIPT);
    if found() {
        return Some(compiler);
    }
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]).arg(&folder);
    let installed = npm.arg(TYPESCRIPT).output();
    if installed.is_ok_and(|output| output.status.success()) && found() {
        return Some(compiler);
    }
    plimsoll_tests::skip(&format!(
        "npm cannot install {TYPESCRIPT}, so the types of the SDK for JavaScript are not tested"
    ));
    None
}

/// What the compiler says of files, one line for each error: `FILE(LINE,COLUMN): error TS…`.
fn judged(compiler: &Path, folder: &Path, options: &[&str], files: &[&str]) -> Vec<String> {
    let mut command = Command::new(compiler);
    command.current_dir(folder).args(["--noEmit", "--pretty", "false", "--target", "es2022", "--module", "nodenext"]);
    let output = command.args(options).args(files).output().expect("it starts");
    let printed = text(&output.stdout);
    let errors: Vec<_> = printed.lines().filter(|line| line.contains("error TS")).map(str::to_owned).collect();
    assert_eq!(output.status.success(), errors.is_empty(), "{printed}{}", text(&output.stderr));
    errors
}

/// A folder with the SDK, and these files.
fn folder_with(files: &[PathBuf]) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let sdk = ["plimsoll.js", "plimsoll.d.ts"].map(|name| root().join("plugins/sdk-javascript").join(name));
    for file in files.iter().chain(&sdk) {
        fs::copy(file, folder.path().join(file.file_name().expect("a name"))).expect("copied");
    }
    fs::write(folder.path().join("package.json"), r#"{ "type": "module" }"#).expect("written");
    folder
}

#[test]
fn the_types_accept_right_uses_and_reject_wrong_ones() {
    let Some(compiler) = compiler() else { return };
    let types = root().join("tests/conformance/sdk/types");
    let folder = folder_with(&["right.ts", "wrong.ts"].map(|name| types.join(name)));
    let none: [String; 0] = [];
    assert_eq!(judged(&compiler, folder.path(), &["--strict"], &["right.ts"]), none);

    let wrong = fs::read_to_string(types.join("wrong.ts")).expect("there");
    let marked = wrong.lines().enumerate().filter(|(_, line)| line.ends_with("// wrong"));
    let marked: BTreeSet<_> = marked.map(|(at, _)| at + 1).collect();
    let errors = judged(&compiler, folder.path(), &["--strict"], &["wrong.ts"]);
    let line = |error: &String| error.split(['(', ',']).nth(1)?.parse::<usize>().ok();
    let found: BTreeSet<_> = errors.iter().map(|error| line(error).expect(error)).collect();
    assert!(marked.len() > 25 && found == marked, "lines {:?}: {errors:#?}", found.symmetric_difference(&marked));
}

/// An editor checks JavaScript by the types that the comments name.
#[test]
fn the_types_accept_the_example_and_new_plugins() {
    let Some(compiler) = compiler() else { return };
    let options = ["--allowJs", "--checkJs"];
    let loose = ["--strict", "false", "--noImplicitAny", "false"];
    let options = [&options[..], &loose].concat();
    let none: [String; 0] = [];
    let example = ["preprocess.js", "area.js", "netpbm.js"];
    let folder = folder_with(&example.map(|name| root().join("plugins/examples/javascript").join(name)));
    assert_eq!(judged(&compiler, folder.path(), &options, &example), none);

    let folder = TempDir::new().expect("a folder");
    for kind in ["preprocess", "infer", "postprocess"] {
        let plugin = folder.path().join(kind);
        let path = plugin.to_str().expect("text");
        let output = run(&["plugin", "new", "typed", "--path", path, "--kind", kind, "--language", "javascript"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        // A module of the host.
        let host = "declare module \"wasi:nn/graph@0.2.0-rc-2024-10-28\" {\n  export function loadByName(name: string): any;\n}\n";
        fs::write(plugin.join("host.d.ts"), host).expect("written");
        assert_eq!(judged(&compiler, &plugin, &options, &["plugin.js", "host.d.ts"]), none, "{kind}");

        // The types are those of the stage: a result of another type is an error.
        let source = fs::read_to_string(plugin.join("plugin.js")).expect("written");
        let changed = source.replace("  run(", "  run() { return 3; },\n  old(");
        assert_ne!(changed, source);
        fs::write(plugin.join("plugin.js"), changed).expect("written");
        let errors = judged(&compiler, &plugin, &options, &["plugin.js", "host.d.ts"]);
        assert!(errors.iter().any(|error| error.contains("TS2322")), "{kind}: {errors:?}");
    }
}

/// The types and the module export the same names.
#[test]
fn the_types_have_every_export_of_the_module() {
    let exports = |name: &str| -> BTreeSet<String> {
        let text = fs::read_to_string(root().join("plugins/sdk-javascript").join(name)).expect("there");
        let after = |line: &str| {
            let rest = ["class ", "const ", "function "]
                .iter()
                .find_map(|kind| line.strip_prefix("export ")?.strip_prefix(kind))?;
            Some(rest.chars().take_while(|c| c.is_alphanumeric()).collect())
        };
        text.lines().filter_map(after).collect()
    };
    let names = exports("plimsoll.js");
    assert!(names.len() > 8, "{names:?}");
    assert_eq!(names, exports("plimsoll.d.ts"));
}
