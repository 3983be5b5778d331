//! `plimsoll plugin new` and `plimsoll plugin build`: the new crate builds without changes, and its component serves.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use plimsoll_tests::TempDir;

/// Variables that cargo and clippy set for the build of the tests. They must not affect the crates that the tests
/// build.
pub(crate) const OUTER_BUILD: [&str; 5] =
    ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "RUSTC_WRAPPER", "RUSTC"];

/// A temporary folder in which commands run. All crates in it use one target directory, so that common dependencies are
/// compiled once.
pub(crate) struct WorkFolder(TempDir);

impl WorkFolder {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path(name).parent().expect("a folder")).expect("made");
        fs::write(self.path(name), text).expect("written");
    }

    pub(crate) fn command(&self, program: &str, folder: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.path(folder)).env("CARGO_TARGET_DIR", self.path("target")).env_remove("RUST_LOG");
        for variable in OUTER_BUILD {
            command.env_remove(variable);
        }
        command
    }

    fn plimsoll(&self, arguments: &[&str]) -> Output {
        let binary = env!("CARGO_BIN_EXE_plimsoll-under-test");
        self.command(binary, "").args(arguments).output().expect("the binary starts")
    }

    /// Runs a command that must succeed. Returns its standard output.
    pub(crate) fn run_ok(&self, arguments: &[&str]) -> String {
        let output = self.plimsoll(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs a command that must fail with this exit code and a message that contains all words.
    pub(crate) fn assert_fails(&self, code: i32, arguments: &[&str], words: &[&str]) {
        let output = self.plimsoll(arguments);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        for word in words {
            assert!(message.contains(word), "{arguments:?}: {word:?} is missing in {message}");
        }
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// The files below a folder, by their path relative to it.
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
fn a_pipeline_of_new_plugins_can_be_built_checked_and_run() {
    let work = WorkFolder::new();
    let sdk = repository().join("plugins/sdk");
    work.run_ok(&["plugin", "new", "raw-pixels", "--kind", "preprocess"]);
    work.run_ok(&["plugin", "new", "by-name", "--kind", "infer", "--sdk", sdk.to_str().expect("text")]);
    work.run_ok(&["plugin", "new", "as-json", "--kind", "postprocess", "--path", "nested/json"]);
    work.run_ok(&["plugin", "new", "contrast", "--kind", "transform", "--sdk", sdk.to_str().expect("text")]);
    assert!(!work.path("by-name/plimsoll").exists(), "the SDK is not copied if `--sdk` is given");

    fs::create_dir(work.path("plugins")).expect("made");
    for (folder, name, kind) in [
        ("raw-pixels", "raw-pixels", "preprocess"),
        ("by-name", "by-name", "infer"),
        ("nested/json", "as-json", "postprocess"),
        ("contrast", "contrast", "transform"),
    ] {
        let stdout = work.run_ok(&["plugin", "build", folder, "--out", "plugins"]);
        let file = format!("plugins/{name}.wasm");
        for line in
            [format!("name      {name}"), format!("kind      {kind}"), format!("next: `plimsoll plugin deploy {file}`")]
        {
            assert!(stdout.lines().any(|given| given == line), "{line:?} is missing in {stdout}");
        }
        let readme = fs::read_to_string(work.path(folder).join("README.md")).expect("a README");
        assert!(!readme.contains("{{"), "{readme}");
        // Editors find the schema.
        let config = fs::read_to_string(work.path(folder).join("plimsoll.toml")).expect("a configuration");
        assert!(config.starts_with("#:schema ./plimsoll.schema.json\n"), "{config}");
        let schema = fs::read_to_string(work.path(folder).join("plimsoll.schema.json")).expect("a schema");
        assert_eq!(schema, work.run_ok(&["config", "schema"]));
        // The pipeline of the new folder combines the plugin with shipped plugins.
        fs::copy(work.path(&file), work.path(&format!("{folder}/{name}.wasm"))).expect("copied");
        let checked = work.run_ok(&["check", "--config", &format!("{folder}/plimsoll.toml")]);
        assert!(checked.contains(name), "{checked}");
        // As its README says.
        if kind != "transform" {
            let file = format!("{name}.wasm");
            let leak = ["leak", &file, "--corpus", "samples", "--pipeline", "demo", "--config", "plimsoll.toml"];
            let output = work.command(env!("CARGO_BIN_EXE_plimsoll-under-test"), folder).args(leak).output();
            let output = output.expect("the binary starts");
            assert_eq!(output.status.code(), Some(0), "{name}: {}{}", text(&output.stdout), text(&output.stderr));
        }
    }

    work.write(
        "plimsoll.toml",
        "[models.digits]\nfile = \"bundled:digits.onnx\"\n\
         [pipelines.demo]\nmodel = \"digits\"\n\
         [pipelines.demo.preprocess]\nplugin = \"raw-pixels\"\nconfig = { shape = [1, 1, 8, 8] }\n\
         [pipelines.demo.chips.native]\nplugin = \"by-name\"\n\
         [pipelines.demo.postprocess]\nplugin = \"as-json\"\n",
    );
    let checked = work.run_ok(&["check", "--config", "plimsoll.toml"]);
    assert!(checked.contains("can be served"), "{checked}");
    assert!(checked.contains("raw-pixels 0.1.0"), "the component has the version of its crate: {checked}");
    work.write("picture.raw", [0; 64]);
    let reply = work.run_ok(&["infer", "demo", "picture.raw", "--config", "plimsoll.toml"]);
    assert!(reply.starts_with(r#"{"outputs":[{"name":"logits","shape":[1,10],"values":["#), "{reply}");
    work.write("short.raw", [0; 63]);
    work.assert_fails(
        1,
        &["infer", "demo", "short.raw", "--config", "plimsoll.toml"],
        &["invalid_input", "has 63 bytes"],
    );

    // Without `--out` the component is written to the folder of the crate.
    work.run_ok(&["plugin", "build", "nested/json"]);
    assert_eq!(
        fs::read(work.path("nested/json/as-json.wasm")).expect("built"),
        fs::read(work.path("plugins/as-json.wasm")).expect("built")
    );

    // The tests of the generated crates run without a host. They use the release profile, because its dependencies are
    // already compiled.
    for folder in ["raw-pixels", "nested/json"] {
        let output = work.command("cargo", folder).args(["test", "--release"]).output().expect("cargo starts");
        let stdout = text(&output.stdout);
        assert!(output.status.success(), "{stdout}{}", text(&output.stderr));
        assert!(stdout.contains("test compute::tests::"), "{stdout}");
    }
}

#[test]
fn the_copy_of_the_sdk_is_complete_and_independent_of_the_workspace() {
    let work = WorkFolder::new();
    work.run_ok(&["plugin", "new", "copied", "--kind", "infer"]);
    let copy = work.path("copied/plimsoll");
    for folder in ["wit", "plugins/sdk/src"] {
        // The files are compared one by one, so that a failure shows names and not contents.
        let (mut given, wanted) = (files(&copy.join(folder)), files(&repository().join(folder)));
        for (name, bytes) in wanted {
            let name = name.display().to_string();
            let copied = given.remove(Path::new(&name));
            assert!(
                copied.is_some_and(|copied| copied == bytes),
                "{folder}/{name} is not an exact copy: is it in the list of copied files?"
            );
        }
        assert!(given.is_empty(), "{folder} has additional files: {:?}", given.keys());
    }
    let manifest = fs::read_to_string(copy.join("plugins/sdk/Cargo.toml")).expect("a manifest");
    for line in ["name = \"plimsoll-sdk\"", "edition = \"2024\"", "[dependencies.wit-bindgen]"] {
        assert!(manifest.contains(line), "{line:?} is missing in {manifest}");
    }
    assert!(!manifest.contains("workspace = true"), "the manifest still inherits from the workspace: {manifest}");

    // The copy also works inside a workspace that does not list it as a member.
    work.write("Cargo.toml", "[workspace]\n");
    for folder in ["copied", "copied/plimsoll/plugins/sdk"] {
        let output = work.command("cargo", folder).args(["metadata", "--no-deps", "--format-version=1"]).output();
        let output = output.expect("cargo starts");
        assert!(output.status.success(), "{folder}: {}", text(&output.stderr));
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let members = metadata["workspace_members"].as_array().expect("members");
        assert_eq!(members.len(), 1, "{folder} is a workspace with {members:?}");
    }
}

#[test]
fn invalid_names_and_folders_that_are_not_empty_are_rejected() {
    let work = WorkFolder::new();
    for (name, words) in [
        ("MyPlugin", ["`MyPlugin`", "for example `my-plugin`"]),
        ("my_plugin", ["`my_plugin`", "for example `my-plugin`"]),
        ("my--plugin", ["`my--plugin`", "for example `my-plugin`"]),
        ("ends-", ["`ends-`", "for example `ends`"]),
        ("2fast", ["`2fast`", "begins with a letter"]),
        ("../up", ["`../up`", "for example `up`"]),
        ("größe", ["`größe`", "lower-case letters and digits"]),
        ("match", ["`match`", "reserved"]),
        ("test", ["`test`", "for example `test-stage`"]),
        ("plimsoll-sdk", ["`plimsoll-sdk`", "reserved"]),
        ("com1", ["`com1`", "reserved"]),
    ] {
        work.assert_fails(1, &["plugin", "new", name, "--kind", "infer"], &words);
    }
    let long = "a".repeat(65);
    work.assert_fails(1, &["plugin", "new", &long, "--kind", "infer"], &["65 characters", "maximum is 64"]);
    work.assert_fails(1, &["plugin", "new", "--kind", "infer", "--", "-dash"], &["`-dash`"]);
    work.assert_fails(
        2,
        &["plugin", "new", "good", "--kind", "decode"],
        &["preprocess", "infer", "transform", "postprocess"],
    );
    let other = ["plugin", "new", "good", "--kind", "transform", "--language", "python"];
    work.assert_fails(1, &other, &["--kind transform", "Rust only", "--language rust"]);
    assert!(files(&work.path("")).is_empty(), "no file is created for a rejected name");

    work.write("taken/notes.txt", "mine");
    work.assert_fails(1, &["plugin", "new", "taken", "--kind", "infer"], &["taken is not empty", "--path"]);
    work.assert_fails(1, &["plugin", "new", "good", "--kind", "infer", "--path", "taken"], &["taken is not empty"]);
    work.assert_fails(
        1,
        &["plugin", "new", "good", "--kind", "infer", "--path", "taken/notes.txt"],
        &["taken/notes.txt"],
    );
    assert_eq!(files(&work.path("taken")).len(), 1, "nothing was written");
    work.assert_fails(
        1,
        &["plugin", "new", "good", "--kind", "infer", "--sdk", "taken"],
        &["--sdk taken", "plugins/sdk"],
    );
    assert!(!work.path("good").exists());

    fs::create_dir(work.path("empty")).expect("made");
    work.run_ok(&["plugin", "new", "empty", "--kind", "infer"]);
}

#[test]
fn a_crate_that_does_not_build_a_plugin_is_rejected() {
    let work = WorkFolder::new();
    let manifest = "[package]\nname = \"other\"\nedition = \"2024\"\n[workspace]\n";
    let cdylib = format!("{manifest}[lib]\ncrate-type = [\"cdylib\"]\n");
    work.assert_fails(1, &["plugin", "build"], &["Cargo.toml, pyproject.toml", "plimsoll plugin new"]);
    work.write("many/Cargo.toml", "[workspace]\n");
    work.assert_fails(1, &["plugin", "build", "many"], &["many/Cargo.toml", "`package.name`"]);
    work.write("library/Cargo.toml", manifest);
    work.write("library/src/lib.rs", "");
    work.assert_fails(1, &["plugin", "build", "library"], &["library does not produce a component", "cdylib"]);
    work.write("broken/Cargo.toml", &cdylib);
    work.write("broken/src/lib.rs", "compile_error!(\"on purpose\");");
    work.assert_fails(1, &["plugin", "build", "broken"], &["on purpose", "broken does not build"]);
    work.write("silent/Cargo.toml", &cdylib);
    work.write("silent/src/lib.rs", "");
    work.assert_fails(1, &["plugin", "build", "silent"], &["plugin `other`", "exports none of", "export_preprocess!"]);
    assert!(!work.path("silent/other.wasm").exists(), "the component is not copied because it is not a plugin");
}
