//! The SDK that the binary carries. It is on no registry, so a new plugin gets a copy of it, in the same places
//! relative to each other as in the repository: the SDK's sources name the contract as `../../wit`.

use toml::{Table, Value};

/// Files of the repository by their path in it; a test holds the list against the folders.
macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../../../", $path)))),*]
    };
}

const FILES: &[(&str, &str)] = files![
    "LICENSE",
    "plugins/sdk/src/bindings.rs",
    "plugins/sdk/src/config.rs",
    "plugins/sdk/src/labels.rs",
    "plugins/sdk/src/lib.rs",
    "plugins/sdk/src/stage.rs",
    "plugins/sdk/src/tensor.rs",
    "wit/deps/wasi-config/store.wit",
    "wit/deps/wasi-nn/wasi-nn.wit",
    "wit/stage.wit",
];

const SDK: &str = include_str!("../../../../../plugins/sdk/Cargo.toml");
const PLUGINS: &str = include_str!("../../../../../plugins/Cargo.toml");
const TOOLCHAIN: &str = include_str!("../../../../../rust-toolchain.toml");

/// The SDK's crate among [`files()`].
pub(super) const FOLDER: &str = "plugins/sdk";

/// The versions with which the shipped plugins are built, so that a new plugin begins with what is known to work.
/// Cargo takes out what the new crate does not use, and adds what it does.
pub(super) const LOCK: &str = include_str!("../../../../../plugins/Cargo.lock");

/// How cargo is configured for the shipped plugins, and for new ones alike.
pub(super) const CARGO_CONFIG: &str = include_str!("../../../../../plugins/.cargo/config.toml");

/// Path and text of every file of the copy.
pub(super) fn files() -> impl Iterator<Item = (&'static str, String)> {
    FILES.iter().map(|&(path, text)| (path, text.to_owned())).chain([("plugins/sdk/Cargo.toml", manifest())])
}

/// The SDK's `Cargo.toml` on its own: what it inherits from the workspace of the plugins is written out. Its lints
/// are for those who work on the SDK and stay behind.
fn manifest() -> String {
    let mut sdk = parsed(SDK);
    let plugins = parsed(PLUGINS);
    sdk.remove("lints");
    for section in ["package", "dependencies"] {
        let shared = &plugins["workspace"][section];
        let entries = sdk.get_mut(section).and_then(Value::as_table_mut).expect("the SDK's manifest has the section");
        for (key, value) in entries {
            // What adds to an inherited entry stays as it is, and a test says so: there is none that would have to be
            // merged.
            if value.as_table().is_some_and(|own| own.len() == 1 && own.contains_key("workspace")) {
                *value = shared[key.as_str()].clone();
            }
        }
    }
    // Its own root, so that cargo takes it for a member of no workspace that the new crate happens to lie in.
    sdk.insert("workspace".to_owned(), Table::new().into());
    format!("# Made by `plimsoll plugin new` from the SDK's own manifest.\n\n{}", written(&sdk))
}

/// The release profile of the shipped plugins, as TOML.
pub(super) fn profile() -> String {
    let profile = parsed(PLUGINS).remove("profile").expect("the workspace of the plugins has a profile");
    written(&Table::from_iter([("profile".to_owned(), profile)]))
}

/// The version of Rust that builds the shipped plugins.
pub(super) fn channel() -> String {
    parsed(TOOLCHAIN)["toolchain"]["channel"].as_str().expect("the channel is text").to_owned()
}

fn parsed(text: &str) -> Table {
    text.parse().expect("the binary carries only manifests that cargo has read")
}

fn written(table: &Table) -> String {
    toml::to_string(table).expect("what was parsed can be written")
}
