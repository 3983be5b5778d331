//! Why a plugin is not built.

use std::io;
use std::path::PathBuf;

use plimsoll_runtime::kind::StageKind;
use wasmparser::BinaryReaderError;

/// Why a plugin is not built.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuildError {
    #[error(
        "{} has none of Cargo.toml, pyproject.toml, package.json and plugin.toml: name the folder of a plugin, or create one \
         with `plimsoll plugin new`",
        .0.display()
    )]
    NoManifest(PathBuf),
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{} is not valid TOML: {error}", manifest.display())]
    NotToml { manifest: PathBuf, error: Box<toml::de::Error> },
    #[error("{} is not valid JSON: {error}", manifest.display())]
    NotJson { manifest: PathBuf, error: serde_json::Error },
    #[error("{} has no `{key}`: name the folder of one plugin", manifest.display())]
    NoName { manifest: PathBuf, key: String },
    #[error(
        "{}: `{key}` is not the kind of a stage: {}; a plugin that `plimsoll plugin new` creates has it",
        manifest.display(),
        StageKind::ALL.map(StageKind::as_str).join(", ")
    )]
    NoKind { manifest: PathBuf, key: &'static str },
    #[error("{}: `{key}` is {problem}", manifest.display())]
    InvalidKey { manifest: PathBuf, key: &'static str, problem: &'static str },
    #[error(
        "{} is missing: the plugin needs the copy of the SDK that `plimsoll plugin new` creates in the folder `plimsoll`",
        .0.display()
    )]
    NoSdk(PathBuf),
    #[error("{tool} cannot be started ({error}): {needed}")]
    NoTool { tool: String, error: io::Error, needed: &'static str },
    #[error("{tool} {found} is too old: {needed}")]
    OldTool { tool: &'static str, found: String, needed: &'static str },
    #[error("{0}")]
    MissingPart(&'static str),
    #[error("{step} failed ({status}); see the messages above")]
    StepFailed { step: String, status: String },
    #[error("`rustc` cannot be started ({0}): install Rust from https://rustup.rs")]
    NoRustc(io::Error),
    #[error(
        "`rustc` does not work in {}: {message}\nif the toolchain of its rust-toolchain.toml is missing, run `rustup \
         toolchain install` in that folder",
        folder.display()
    )]
    RustcFailed { folder: PathBuf, message: String },
    #[error(
        "the target {target} is not installed and `rustup target add {target}` failed. Install it with that command (or \
         your distribution's package of the Rust standard library for {target}), then build again."
    )]
    NoTarget { target: &'static str },
    #[error("`cargo` cannot be started: {0}")]
    NoCargo(io::Error),
    #[error("the crate in {} does not build; see the errors above", .0.display())]
    CargoFailed(PathBuf),
    #[error("{}: {error}", folder.display())]
    Folder { folder: PathBuf, error: io::Error },
    #[error(
        "the crate in {} does not produce a component: set `crate-type = [\"cdylib\"]` under `[lib]`",
        .0.display()
    )]
    NoLibrary(PathBuf),
    #[error("the compiler did not build a component; build for the target wasm32-wasip2")]
    NoComponent,
    #[error("the compiler did not build a valid component: {0}")]
    InvalidComponent(BinaryReaderError),
    /// The text is that of the conversion, which names what is missing.
    #[error("the module cannot become a component: {0}")]
    NotConverted(String),
    /// `exports` are the names, as the end of the sentence.
    #[error(
        "the component exports none of {}: one line of `export_preprocess!`, `export_infer!`, \
         `export_transform!` or `export_postprocess!` is missing (it exports {exports})",
        StageKind::ALL.map(StageKind::interface).join(", ")
    )]
    NoStage { exports: String },
    #[error("the license of its manifest: {0}")]
    License(String),
    #[error("its metadata cannot be written: {0}")]
    Metadata(String),
    #[error("{} cannot be written: {error}", path.display())]
    NotWritten { path: PathBuf, error: io::Error },
}
