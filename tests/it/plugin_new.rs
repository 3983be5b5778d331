//! `plimsoll plugin new` and `plimsoll plugin build`: the crate that is made builds as it is, and what is built serves.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use plimsoll_tests::TempDir;

/// What cargo and clippy set for the build around the tests; not meant for the crates that the tests build.
const OUTER: [&str; 5] = ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "RUSTC_WRAPPER", "RUSTC"];

/// A folder in which commands run, with one target directory for every crate in it: what crates share is compiled once.
struct Workplace(TempDir);

impl Workplace {
    fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path(name).parent().expect("a folder")).expect("made");
        fs::write(self.path(name), text).expect("written");
    }

    fn command(&self, program: &str, folder: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.path(folder)).env("CARGO_TARGET_DIR", self.path("target")).env_remove("RUST_LOG");
        for variable in OUTER {
            command.env_remove(variable);
        }
        command
    }

    fn plimsoll(&self, arguments: &[&str]) -> Output {
        let binary = env!("CARGO_BIN_EXE_plimsoll-under-test");
        self.command(binary, "").args(arguments).output().expect("the binary starts")
    }

    /// The standard output of a command that succeeds.
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.plimsoll(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// The message of a command that is refused with this code, which has all of the words.
    fn refused(&self, code: i32, arguments: &[&str], words: &[&str]) {
        let output = self.plimsoll(arguments);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        for word in words {
            assert!(message.contains(word), "{arguments:?}: {word:?} is missing in {message}");
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// The files below a folder by their path in it.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("readable").path();
        let name = PathBuf::from(path.file_name().expect("a name"));
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(below, bytes)| (name.join(below), bytes)));
        } else {
            found.insert(name, fs::read(&path).expect("readable"));
        }
    }
    found
}

#[test]
fn a_pipeline_of_new_plugins_is_built_checked_and_answers() {
    let place = Workplace::new();
    let sdk = repository().join("plugins/sdk");
    place.done(&["plugin", "new", "raw-pixels", "--kind", "preprocess"]);
    place.done(&["plugin", "new", "by-name", "--kind", "infer", "--sdk", sdk.to_str().expect("text")]);
    place.done(&["plugin", "new", "as-json", "--kind", "postprocess", "--path", "nested/json"]);
    assert!(!place.path("by-name/plimsoll").exists(), "an SDK was given, so none is copied");

    fs::create_dir(place.path("plugins")).expect("made");
    for (folder, name, kind) in [
        ("raw-pixels", "raw-pixels", "preprocess"),
        ("by-name", "by-name", "infer"),
        ("nested/json", "as-json", "postprocess"),
    ] {
        let stdout = place.done(&["plugin", "build", folder, "--out", "plugins"]);
        let file = format!("plugins/{name}.wasm");
        for line in
            [format!("name      {name}"), format!("kind      {kind}"), format!("next: `plimsoll plugin deploy {file}`")]
        {
            assert!(stdout.lines().any(|given| given == line), "{line:?} is missing in {stdout}");
        }
        // The README's pipeline has the plugin between shipped ones.
        let readme = fs::read_to_string(place.path(folder).join("README.md")).expect("a README");
        assert!(!readme.contains("{{"), "{readme}");
        let pipeline = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a pipeline");
        place.write("readme.toml", pipeline);
        let checked = place.done(&["check", "--config", "readme.toml"]);
        assert!(checked.contains(name), "{checked}");
    }

    place.write(
        "plimsoll.toml",
        "[models.digits]\nfile = \"bundled:digits.onnx\"\n\
         [pipelines.demo]\nmodel = \"digits\"\n\
         [pipelines.demo.preprocess]\nplugin = \"raw-pixels\"\nconfig = { shape = [1, 1, 8, 8] }\n\
         [pipelines.demo.chips.native]\nplugin = \"by-name\"\n\
         [pipelines.demo.postprocess]\nplugin = \"as-json\"\n",
    );
    let checked = place.done(&["check", "--config", "plimsoll.toml"]);
    assert!(checked.contains("can be served"), "{checked}");
    assert!(checked.contains("raw-pixels 0.1.0"), "the component says its crate's version: {checked}");
    place.write("picture.raw", [0; 64]);
    let reply = place.done(&["infer", "demo", "picture.raw", "--config", "plimsoll.toml"]);
    assert!(reply.starts_with(r#"{"outputs":[{"name":"logits","shape":[1,10],"values":["#), "{reply}");
    place.write("short.raw", [0; 63]);
    place.refused(1, &["infer", "demo", "short.raw", "--config", "plimsoll.toml"], &["invalid_input", "has 63 bytes"]);

    // Without `--out` the component lies in the crate.
    place.done(&["plugin", "build", "nested/json"]);
    assert_eq!(
        fs::read(place.path("nested/json/as-json.wasm")).expect("built"),
        fs::read(place.path("plugins/as-json.wasm")).expect("built")
    );

    // The tests of the examples run without a host; in release, for that shares what was compiled above.
    for folder in ["raw-pixels", "nested/json"] {
        let output = place.command("cargo", folder).args(["test", "--release"]).output().expect("cargo starts");
        let stdout = text(&output.stdout);
        assert!(output.status.success(), "{stdout}{}", text(&output.stderr));
        assert!(stdout.contains("test compute::tests::"), "{stdout}");
    }
}

#[test]
fn the_copy_of_the_sdk_is_whole_and_stands_alone() {
    let place = Workplace::new();
    place.done(&["plugin", "new", "copied", "--kind", "infer"]);
    let copy = place.path("copied/plimsoll");
    for folder in ["wit", "plugins/sdk/src"] {
        // File by file, so that a failure shows names and not bytes.
        let (mut given, wanted) = (files(&copy.join(folder)), files(&repository().join(folder)));
        for (name, bytes) in wanted {
            let name = name.display().to_string();
            let copied = given.remove(Path::new(&name));
            assert!(copied.is_some_and(|copied| copied == bytes), "{folder}/{name} is no copy: is it in the list?");
        }
        assert!(given.is_empty(), "{folder} has too much: {:?}", given.keys());
    }
    let manifest = fs::read_to_string(copy.join("plugins/sdk/Cargo.toml")).expect("a manifest");
    for line in ["name = \"plimsoll-sdk\"", "edition = \"2024\"", "[dependencies.wit-bindgen]"] {
        assert!(manifest.contains(line), "{line:?} is missing in {manifest}");
    }
    assert!(!manifest.contains("workspace = true"), "something is inherited still: {manifest}");

    // Wherever it lies: here in a workspace that knows nothing of it.
    place.write("Cargo.toml", "[workspace]\n");
    for folder in ["copied", "copied/plimsoll/plugins/sdk"] {
        let output = place.command("cargo", folder).args(["metadata", "--no-deps", "--format-version=1"]).output();
        let output = output.expect("cargo starts");
        assert!(output.status.success(), "{folder}: {}", text(&output.stderr));
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let members = metadata["workspace_members"].as_array().expect("members");
        assert_eq!(members.len(), 1, "{folder} is a workspace with {members:?}");
    }
}

#[test]
fn names_and_folders_that_cannot_be_are_refused() {
    let place = Workplace::new();
    for (name, words) in [
        ("MyPlugin", ["`MyPlugin`", "`my-plugin` would do"]),
        ("my_plugin", ["`my_plugin`", "`my-plugin` would do"]),
        ("my--plugin", ["`my--plugin`", "`my-plugin` would do"]),
        ("ends-", ["`ends-`", "`ends` would do"]),
        ("2fast", ["`2fast`", "begins with a letter"]),
        ("../up", ["`../up`", "`up` would do"]),
        ("größe", ["`größe`", "lower-case letters and digits"]),
        ("match", ["`match`", "reserved"]),
        ("test", ["`test`", "`test-stage` would do"]),
        ("plimsoll-sdk", ["`plimsoll-sdk`", "reserved"]),
        ("com1", ["`com1`", "reserved"]),
    ] {
        place.refused(1, &["plugin", "new", name, "--kind", "infer"], &words);
    }
    let long = "a".repeat(65);
    place.refused(1, &["plugin", "new", &long, "--kind", "infer"], &["65 letters", "64 are the most"]);
    place.refused(1, &["plugin", "new", "--kind", "infer", "--", "-dash"], &["`-dash`"]);
    place.refused(2, &["plugin", "new", "good", "--kind", "decode"], &["preprocess", "infer", "postprocess"]);
    assert!(files(&place.path("")).is_empty(), "a refused name leaves nothing behind");

    place.write("taken/notes.txt", "mine");
    place.refused(1, &["plugin", "new", "taken", "--kind", "infer"], &["taken is not empty", "--path"]);
    place.refused(1, &["plugin", "new", "good", "--kind", "infer", "--path", "taken"], &["taken is not empty"]);
    place.refused(1, &["plugin", "new", "good", "--kind", "infer", "--path", "taken/notes.txt"], &["taken/notes.txt"]);
    assert_eq!(files(&place.path("taken")).len(), 1, "nothing was written");
    place.refused(1, &["plugin", "new", "good", "--kind", "infer", "--sdk", "taken"], &["--sdk taken", "plugins/sdk"]);
    assert!(!place.path("good").exists());

    fs::create_dir(place.path("empty")).expect("made");
    place.done(&["plugin", "new", "empty", "--kind", "infer"]);
}

#[test]
fn what_is_no_plugin_is_not_taken() {
    let place = Workplace::new();
    let manifest = "[package]\nname = \"other\"\nedition = \"2024\"\n[workspace]\n";
    let cdylib = format!("{manifest}[lib]\ncrate-type = [\"cdylib\"]\n");
    place.refused(1, &["plugin", "build"], &["Cargo.toml cannot be read", "plimsoll plugin new"]);
    place.write("many/Cargo.toml", "[workspace]\n");
    place.refused(1, &["plugin", "build", "many"], &["many/Cargo.toml", "`package.name`"]);
    place.write("library/Cargo.toml", manifest);
    place.write("library/src/lib.rs", "");
    place.refused(1, &["plugin", "build", "library"], &["library makes no component", "cdylib"]);
    place.write("broken/Cargo.toml", &cdylib);
    place.write("broken/src/lib.rs", "compile_error!(\"on purpose\");");
    place.refused(1, &["plugin", "build", "broken"], &["on purpose", "broken does not build"]);
    place.write("silent/Cargo.toml", &cdylib);
    place.write("silent/src/lib.rs", "");
    place.refused(1, &["plugin", "build", "silent"], &["plugin `other`", "exports none of", "export_preprocess!"]);
    assert!(!place.path("silent/other.wasm").exists(), "what is no plugin is not copied");
}
