//! `plimsoll plugin build`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use plimsoll_runtime::component::exports::Interface;
use plimsoll_runtime::identity::digest;
use plimsoll_runtime::kind::StageKind;
use serde_json::Value;
use wasmparser::BinaryReaderError;

use crate::base::telemetry::print_line;
use crate::cli::error::Error;
use crate::cli::output::out;

const TARGET: &str = "wasm32-wasip2";

#[derive(Debug, Args)]
pub(in crate::cli) struct Build {
    /// The folder of the plugin's crate.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The file to write, or an existing folder to write NAME.wasm to; default NAME.wasm in the crate's folder.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Build {
    pub(in crate::cli) fn run(self) -> Result<(), Error> {
        let (name, package) = package(&self.dir).map_err(Error::failed)?;
        ensure_target(&self.dir).map_err(Error::failed)?;
        let built = build(&self.dir).map_err(Error::failed)?;
        let bytes =
            fs::read(&built).map_err(|error| Error::Failed(format!("{} cannot be read: {error}", built.display())))?;
        // Checked before the copy, because a server that watches the folder must not find a file that is not a plugin.
        let of_plugin = |error: BuildError| Error::Failed(format!("plugin `{name}`: {error}"));
        let kinds = kinds(&bytes).map_err(of_plugin)?;
        let bytes = with_metadata(&bytes, &package).map_err(of_plugin)?;

        let file = format!("{name}.wasm");
        let out = match self.out {
            None => self.dir.join(file),
            Some(out) if out.is_dir() => out.join(file),
            Some(out) => out,
        };
        let out = out.strip_prefix(".").unwrap_or(&out);
        place(&bytes, out).map_err(Error::failed)?;

        out!("name      {name}");
        out!("kind      {}", kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", "));
        out!("size      {}", bytesize::ByteSize::b(bytes.len() as u64));
        out!("sha256    {}", digest(&bytes));
        out!("file      {}", out.display());
        out!("next: `plimsoll plugin deploy {}`", out.display());
        Ok(())
    }
}

/// Why a plugin is not built.
#[derive(Debug, thiserror::Error)]
enum BuildError {
    #[error(
        "{} cannot be read: {error}; name the folder of a plugin's crate, or create one with `plimsoll plugin new`",
        manifest.display()
    )]
    NoManifest { manifest: PathBuf, error: io::Error },
    #[error("{} is not valid TOML: {error}", manifest.display())]
    NotToml { manifest: PathBuf, error: Box<toml::de::Error> },
    #[error("{} has no `package.name`: name the folder of one crate", .0.display())]
    NoName(PathBuf),
    #[error("`rustc` cannot be started ({0}): install Rust from https://rustup.rs")]
    NoRustc(io::Error),
    #[error(
        "`rustc` does not work in {}: {message}\nif the toolchain of its rust-toolchain.toml is missing, run `rustup \
         toolchain install` in that folder",
        folder.display()
    )]
    RustcFailed { folder: PathBuf, message: String },
    #[error(
        "the target {TARGET} is not installed and `rustup target add {TARGET}` failed. Install it with that command \
         (or your distribution's package of the Rust standard library for {TARGET}), then build again."
    )]
    NoTarget,
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
    #[error("cargo did not build a component; build for the target {TARGET}")]
    NoComponent,
    #[error("cargo did not build a valid component: {0}")]
    InvalidComponent(BinaryReaderError),
    /// `exports` are the names, as the end of the sentence.
    #[error(
        "the component exports none of {}: one line of `export_preprocess!`, `export_infer!` or \
         `export_postprocess!` is missing (it exports {exports})",
        StageKind::ALL.map(StageKind::interface).join(", ")
    )]
    NoStage { exports: String },
    #[error("`package.license`: {0}")]
    License(String),
    #[error("its metadata cannot be written: {0}")]
    Metadata(String),
    #[error("{} cannot be written: {error}", path.display())]
    NotWritten { path: PathBuf, error: io::Error },
}

/// Reads the name and the table `package` of the crate in a folder.
///
/// # Errors
/// If the manifest cannot be read, or the package has no name.
fn package(dir: &Path) -> Result<(String, toml::Table), BuildError> {
    let path = dir.join("Cargo.toml");
    let manifest = match fs::read_to_string(&path) {
        Ok(text) => text.parse::<toml::Table>(),
        Err(error) => return Err(BuildError::NoManifest { manifest: path, error }),
    };
    let mut manifest = match manifest {
        Ok(table) => table,
        Err(error) => return Err(BuildError::NotToml { manifest: path, error: Box::new(error) }),
    };
    let Some(toml::Value::Table(package)) = manifest.remove("package") else { return Err(BuildError::NoName(path)) };
    match text(&package, "name") {
        Some(name) => Ok((name, package)),
        None => Err(BuildError::NoName(path)),
    }
}

fn text(package: &toml::Table, key: &str) -> Option<String> {
    package.get(key).and_then(toml::Value::as_str).map(str::to_owned)
}

/// Returns the component with the crate's metadata. Cargo does not write it, and the server reads the version from it.
fn with_metadata(bytes: &[u8], package: &toml::Table) -> Result<Vec<u8>, BuildError> {
    use wasm_metadata::{AddMetadata, AddMetadataField as Field};
    let mut metadata = AddMetadata::default();
    if let Some(version) = text(package, "version") {
        metadata.version = Field::Set(wasm_metadata::Version::new(version));
    }
    if let Some(description) = text(package, "description") {
        metadata.description = Field::Set(wasm_metadata::Description::new(description));
    }
    if let Some(license) = text(package, "license") {
        let licenses = wasm_metadata::Licenses::new(&license);
        metadata.licenses = Field::Set(licenses.map_err(|error| BuildError::License(format!("{error:#}")))?);
    }
    let authors: Vec<_> = package.get("authors").and_then(toml::Value::as_array).into_iter().flatten().collect();
    if !authors.is_empty() {
        let names: Vec<_> = authors.into_iter().filter_map(toml::Value::as_str).collect();
        metadata.authors = Field::Set(wasm_metadata::Authors::new(names.join(", ")));
    }
    metadata.to_wasm(bytes).map_err(|error| BuildError::Metadata(format!("{error:#}")))
}

/// Installs the target if it is missing. `rust-toolchain.toml` may name the toolchain and the target, but rustup's
/// automatic installation may be disabled.
fn ensure_target(dir: &Path) -> Result<(), BuildError> {
    let asked = Command::new("rustc").current_dir(dir).args(["--print", "target-libdir", "--target", TARGET]).output();
    let asked = asked.map_err(BuildError::NoRustc)?;
    if !asked.status.success() {
        let words = String::from_utf8_lossy(&asked.stderr);
        // rustup may add a trace of its own calls, after an empty line.
        let message = words.split("\n\n").next().unwrap_or_default().trim().to_owned();
        return Err(BuildError::RustcFailed { folder: dir.to_owned(), message });
    }
    if Path::new(String::from_utf8_lossy(&asked.stdout).trim()).is_dir() {
        return Ok(());
    }
    print_line(&format!("the target {TARGET} is missing; running `rustup target add {TARGET}`"));
    let added = Command::new("rustup").current_dir(dir).args(["target", "add", TARGET]).status();
    if added.is_ok_and(|status| status.success()) { Ok(()) } else { Err(BuildError::NoTarget) }
}

/// Runs cargo and returns the path of the component that cargo reports.
fn build(dir: &Path) -> Result<PathBuf, BuildError> {
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(dir)
        .args(["build", "--release", "--target", TARGET, "--message-format=json-render-diagnostics"])
        .stderr(Stdio::inherit());
    // A cargo build that runs this command sets these variables for itself. RUSTFLAGS would also silently replace the
    // flags in the crate's `.cargo/config.toml`.
    for variable in ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "RUSTC_WRAPPER", "RUSTC"] {
        cargo.env_remove(variable);
    }
    let output = cargo.output().map_err(BuildError::NoCargo)?;
    if !output.status.success() {
        return Err(BuildError::CargoFailed(dir.to_owned()));
    }
    let manifest = dir.join("Cargo.toml").canonicalize();
    let manifest = manifest.map_err(|error| BuildError::Folder { folder: dir.to_owned(), error })?;
    let messages = String::from_utf8_lossy(&output.stdout);
    let component = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|message| component_of(&message, &manifest));
    component.ok_or_else(|| BuildError::NoLibrary(dir.to_owned()))
}

/// Returns the component that a message of cargo reports for the crate of this manifest.
///
/// [Format of the messages](https://doc.rust-lang.org/cargo/reference/external-tools.html#artifact-messages).
fn component_of(message: &Value, manifest: &Path) -> Option<PathBuf> {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    if message["reason"] != "compiler-artifact" || !texts(&message["target"]["crate_types"]).contains(&"cdylib".into())
    {
        return None;
    }
    // A dependency may be a `cdylib` as well.
    if Path::new(message["manifest_path"].as_str()?).canonicalize().ok()? != manifest {
        return None;
    }
    texts(&message["filenames"]).into_iter().find(|name| name.ends_with(".wasm")).map(PathBuf::from)
}

/// Returns the stage kinds of a component. They are read from its bytes, because compilation would take seconds.
fn kinds(bytes: &[u8]) -> Result<Vec<StageKind>, BuildError> {
    if !wasmparser::Parser::is_component(bytes) {
        return Err(BuildError::NoComponent);
    }
    let interface = Interface::read(bytes).map_err(BuildError::InvalidComponent)?;
    let (kinds, exports) = (interface.kinds(), interface.exports);
    if kinds.is_empty() {
        let exports = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
        return Err(BuildError::NoStage { exports });
    }
    Ok(kinds)
}

/// Writes the component to a temporary file next to `out` and renames it, so that a server that watches the folder
/// never reads an incomplete file.
fn place(bytes: &[u8], out: &Path) -> Result<(), BuildError> {
    let partial = out.with_extension("wasm.partial");
    let placed = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, out));
    placed.map_err(|error| {
        // The incomplete file is useless. If it cannot be removed, only the first error is reported.
        let _ = fs::remove_file(&partial);
        BuildError::NotWritten { path: out.to_owned(), error }
    })
}
