//! `plimsoll plugin build`.
//!
//! - [`rust`], [`python`], [`javascript`], [`c`]: a build in each language. [`manifest`]: what their manifests have in common.
//! - [`tools`]: runs compilers and installers. [`error`]: why a plugin is not built.

mod c;
mod error;
mod javascript;
mod manifest;
mod python;
mod rust;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use plimsoll_runtime::component::exports::Interface;
use plimsoll_runtime::identity::digest;
use plimsoll_runtime::kind::StageKind;

use self::error::BuildError;
use super::language::Language;
use crate::cli::error::Error;
use crate::cli::output::{out, shell_word};

#[derive(Debug, Args)]
pub(in crate::cli) struct Build {
    /// The folder of the plugin.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The file to write, or an existing folder to write NAME.wasm to; default NAME.wasm in the plugin's folder.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Build {
    pub(in crate::cli) fn run(self) -> Result<(), Error> {
        let built = match Language::of_folder(&self.dir) {
            None => Err(BuildError::NoManifest(self.dir.clone())),
            Some(Language::Rust) => rust::build(&self.dir),
            Some(Language::Python) => python::build(&self.dir),
            Some(Language::JavaScript) => javascript::build(&self.dir),
            Some(Language::C | Language::Cpp) => c::build(&self.dir),
        };
        let Built { name, bytes, metadata } = built.map_err(Error::failed)?;
        // Checked before the copy, because a server that watches the folder must not find a file that is not a plugin.
        let of_plugin = |error: BuildError| Error::Failed(format!("plugin `{name}`: {error}"));
        let kinds = kinds(&bytes).map_err(of_plugin)?;
        let bytes = with_metadata(&bytes, &metadata).map_err(of_plugin)?;

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
        out!("next: `plimsoll plugin deploy {}`", shell_word(out));
        Ok(())
    }
}

/// A component as its compiler made it.
struct Built {
    /// The plugin's name, from its manifest.
    name: String,
    bytes: Vec<u8>,
    metadata: Metadata,
}

/// What a plugin's manifest says about it. Compilers do not write it into the component, and the server reads the version
/// from there.
#[derive(Debug, Default)]
struct Metadata {
    version: Option<String>,
    description: Option<String>,
    license: Option<String>,
    authors: Vec<String>,
}

/// Returns the component with its metadata.
fn with_metadata(bytes: &[u8], metadata: &Metadata) -> Result<Vec<u8>, BuildError> {
    use wasm_metadata::{AddMetadata, AddMetadataField as Field};
    let mut added = AddMetadata::default();
    if let Some(version) = &metadata.version {
        added.version = Field::Set(wasm_metadata::Version::new(version.clone()));
    }
    if let Some(description) = &metadata.description {
        added.description = Field::Set(wasm_metadata::Description::new(description.clone()));
    }
    if let Some(license) = &metadata.license {
        let licenses = wasm_metadata::Licenses::new(license);
        added.licenses = Field::Set(licenses.map_err(|error| BuildError::License(format!("{error:#}")))?);
    }
    if !metadata.authors.is_empty() {
        added.authors = Field::Set(wasm_metadata::Authors::new(metadata.authors.join(", ")));
    }
    added.to_wasm(bytes).map_err(|error| BuildError::Metadata(format!("{error:#}")))
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
