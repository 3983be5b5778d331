//! The SDKs that are embedded in the binary. They are not published in registries, so a new plugin gets a copy. The files
//! have the same relative paths as in the repository, because the SDK's sources refer to the contract as `../../wit`.

#![expect(clippy::expect_used, reason = "the embedded files are known when this program is built")]

use plimsoll_runtime::kind::StageKind;
use toml::{Table, Value};

/// Embeds files of the repository with their paths. A test checks the list against the folders.
macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../../../", $path)))),*]
    };
}

const RUST: &[(&str, &str)] = files![
    "LICENSE",
    "plugins/sdk/src/bindings.rs",
    "plugins/sdk/src/config.rs",
    "plugins/sdk/src/configured.rs",
    "plugins/sdk/src/gathered.rs",
    "plugins/sdk/src/labels.rs",
    "plugins/sdk/src/model.rs",
    "plugins/sdk/src/lib.rs",
    "plugins/sdk/src/realloc.rs",
    "plugins/sdk/src/stage.rs",
    "plugins/sdk/src/tensor.rs",
];

const WIT: &[(&str, &str)] = files!["wit/deps/wasi-config/store.wit", "wit/deps/wasi-nn/wasi-nn.wit", "wit/stage.wit",];

const PYTHON: &[(&str, &str)] = files![
    "plugins/sdk-python/plimsoll_sdk/__init__.py",
    "plugins/sdk-python/plimsoll_sdk/assets.py",
    "plugins/sdk-python/plimsoll_sdk/config.py",
    "plugins/sdk-python/plimsoll_sdk/failures.py",
    "plugins/sdk-python/plimsoll_sdk/results.py",
    "plugins/sdk-python/plimsoll_sdk/tensors.py",
];

const JAVASCRIPT: &[(&str, &str)] =
    files!["plugins/sdk-javascript/plimsoll.d.ts", "plugins/sdk-javascript/plimsoll.js"];

const C: &[(&str, &str)] = files!["plugins/sdk-c/stage.c", "plugins/sdk-c/stage.h"];
const C_PREPROCESS: &[(&str, &str)] =
    files!["plugins/sdk-c/preprocess/plimsoll.c", "plugins/sdk-c/preprocess/plimsoll.h"];
const C_INFER: &[(&str, &str)] = files!["plugins/sdk-c/infer/plimsoll.c", "plugins/sdk-c/infer/plimsoll.h"];
const C_POSTPROCESS: &[(&str, &str)] =
    files!["plugins/sdk-c/postprocess/plimsoll.c", "plugins/sdk-c/postprocess/plimsoll.h"];

/// The lock file of the example plugin in JavaScript, which new plugins in JavaScript use too.
pub(super) const NODE_LOCK: &str = include_str!("../../../../../plugins/examples/javascript/package-lock.json");

const SDK: &str = include_str!("../../../../../plugins/sdk/Cargo.toml");
const PLUGINS: &str = include_str!("../../../../../plugins/Cargo.toml");
const TOOLCHAIN: &str = include_str!("../../../../../rust-toolchain.toml");

/// The folder of the SDK's crate in [`rust()`].
pub(super) const FOLDER: &str = "plugins/sdk";

/// The lock file of the shipped plugins. With it, a new plugin starts with dependency versions that are known to work.
/// Cargo removes the entries that the new crate does not use and adds the missing ones.
pub(super) const LOCK: &str = include_str!("../../../../../plugins/Cargo.lock");

/// The cargo configuration of the shipped plugins, which new plugins use too.
pub(super) const CARGO_CONFIG: &str = include_str!("../../../../../plugins/.cargo/config.toml");

/// Returns the path and text of every file of the SDK for Rust. The paths are those in the repository.
pub(super) fn rust() -> impl Iterator<Item = (&'static str, String)> {
    let files = RUST.iter().chain(WIT);
    files.map(|&(path, text)| (path, text.to_owned())).chain([("plugins/sdk/Cargo.toml", manifest())])
}

/// Returns the path and text of every file of the interface of stages, in the folder `wit`.
pub(super) fn wit() -> impl Iterator<Item = (&'static str, &'static str)> {
    WIT.iter().copied()
}

/// Returns the path and text of every file of the package for Python, in the folder `plimsoll_sdk`.
pub(super) fn python() -> impl Iterator<Item = (&'static str, &'static str)> {
    below("plugins/sdk-python/", PYTHON)
}

/// Returns the path and text of every file of the module for JavaScript.
pub(super) fn javascript() -> impl Iterator<Item = (&'static str, &'static str)> {
    below("plugins/sdk-javascript/", JAVASCRIPT)
}

/// Returns the name and text of every file of the SDK for C, with the bindings of a kind of stage.
pub(super) fn c(kind: StageKind) -> impl Iterator<Item = (&'static str, &'static str)> {
    let (folder, bindings) = match kind {
        StageKind::Preprocess => ("plugins/sdk-c/preprocess/", C_PREPROCESS),
        // There is no template of a transform plugin.
        StageKind::Infer | StageKind::Transform => ("plugins/sdk-c/infer/", C_INFER),
        StageKind::Postprocess => ("plugins/sdk-c/postprocess/", C_POSTPROCESS),
    };
    below("plugins/sdk-c/", C).chain(below(folder, bindings))
}

/// The files with their paths relative to `folder`.
fn below(
    folder: &'static str,
    files: &'static [(&'static str, &'static str)],
) -> impl Iterator<Item = (&'static str, &'static str)> {
    files.iter().map(move |&(path, text)| (path.strip_prefix(folder).expect("the files are in the folder"), text))
}

/// The SDK's `Cargo.toml` without a workspace: inherited entries are replaced by their values from the workspace of the
/// plugins. The lints are left out, because they matter only for work on the SDK.
fn manifest() -> String {
    let mut sdk = parsed(SDK);
    let plugins = parsed(PLUGINS);
    sdk.remove("lints");
    for section in ["package", "dependencies"] {
        let shared = &plugins["workspace"][section];
        let entries =
            sdk.get_mut(section).and_then(Value::as_table_mut).expect("the embedded manifest has the section");
        for (key, value) in entries {
            // An entry that inherits and adds keys is not merged. There is none, and a test checks that the copy
            // inherits nothing.
            if value.as_table().is_some_and(|own| own.len() == 1 && own.contains_key("workspace")) {
                *value = shared[key.as_str()].clone();
            }
        }
    }
    // The SDK is its own workspace root. Otherwise cargo would look for one in the folders around the new crate.
    sdk.insert("workspace".to_owned(), Table::new().into());
    format!("# Generated by `plimsoll plugin new` from the manifest of the SDK.\n\n{}", written(&sdk))
}

/// Returns the release profile of the shipped plugins as TOML.
pub(super) fn profile() -> String {
    let profile = parsed(PLUGINS).remove("profile").expect("the embedded manifest has a profile");
    written(&Table::from_iter([("profile".to_owned(), profile)]))
}

/// Returns the Rust version that builds the shipped plugins.
pub(super) fn channel() -> String {
    parsed(TOOLCHAIN)["toolchain"]["channel"].as_str().expect("the embedded file names a channel").to_owned()
}

fn parsed(text: &str) -> Table {
    text.parse().expect("the binary carries only manifests that cargo has read")
}

fn written(table: &Table) -> String {
    toml::to_string(table).expect("a parsed table can be written")
}
