//! `plimsoll plugin new`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use plimsoll_runtime::kind::StageKind;

use super::language::Language;
use super::{name, template};
use crate::cli::error::Error;
use crate::cli::output::{out, shell_word};
use crate::cli::stage_kind;

#[derive(Debug, Args)]
pub(in crate::cli) struct New {
    /// The plugin's name, lower-case words joined by hyphens: the name of its package and of its `.wasm` file.
    name: String,
    /// The kind of stage that the plugin implements.
    #[arg(long, value_parser = stage_kind::any())]
    kind: StageKind,
    /// The language of the plugin.
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    language: Language,
    /// The folder to create; default NAME in the current folder.
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// For Rust: depend on the SDK in this folder, `plugins/sdk` of a checkout, instead of a copy in the new crate.
    #[arg(long, value_name = "PATH")]
    sdk: Option<PathBuf>,
}

/// Why a plugin is not created.
#[derive(Debug, thiserror::Error)]
enum NewError {
    #[error("{} is not empty: name another folder with `--path`, or empty it first", .0.display())]
    NotEmpty(PathBuf),
    #[error("{} cannot become the plugin's folder: {error}", folder.display())]
    Folder { folder: PathBuf, error: io::Error },
    #[error("--sdk {}: {reason}; use the folder `plugins/sdk` of a checkout", folder.display())]
    Sdk { folder: PathBuf, reason: String },
    #[error("--sdk is the SDK for Rust: leave it out for a plugin in another language")]
    SdkOfRust,
    #[error("--kind transform: there is a template for Rust only; use `--language rust`")]
    OnlyRust,
    #[error("{} cannot be written: {error}", path.display())]
    NotWritten { path: PathBuf, error: io::Error },
}

impl New {
    pub(in crate::cli) fn run(self) -> Result<(), Error> {
        name::check(&self.name).map_err(Error::failed)?;
        if self.kind == StageKind::Transform && self.language != Language::Rust {
            return Err(Error::failed(NewError::OnlyRust));
        }
        let folder = self.path.clone().unwrap_or_else(|| PathBuf::from(&self.name));
        check_vacant(&folder).map_err(Error::failed)?;
        let sdk = match &self.sdk {
            None => None,
            Some(_) if self.language != Language::Rust => return Err(Error::failed(NewError::SdkOfRust)),
            Some(given) => Some(checked_sdk(given).map_err(Error::failed)?),
        };
        let plugin = template::Plugin { name: &self.name, kind: self.kind, language: self.language, sdk };
        for (path, content) in plugin.files() {
            write(&folder.join(path), &content).map_err(Error::failed)?;
        }
        out!("created the {} plugin `{}` in {}", self.kind.as_str(), self.name, folder.display());
        out!("next: `plimsoll plugin build {}`; its README.md describes the other steps", shell_word(&folder));
        Ok(())
    }
}

/// Checks that the folder does not exist or is empty.
fn check_vacant(folder: &Path) -> Result<(), NewError> {
    match fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(NewError::NotEmpty(folder.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(NewError::Folder { folder: folder.to_owned(), error }),
    }
}

/// Returns the absolute path of a local SDK, so that the crate builds in any folder.
///
/// # Errors
/// If the folder does not contain the SDK, or its path is not UTF-8.
fn checked_sdk(folder: &Path) -> Result<String, NewError> {
    let refused = |why: &dyn std::fmt::Display| NewError::Sdk { folder: folder.to_owned(), reason: why.to_string() };
    let manifest = fs::read_to_string(folder.join("Cargo.toml"))
        .map_err(|error| refused(&format!("its Cargo.toml cannot be read: {error}")))?;
    let manifest: toml::Table =
        manifest.parse().map_err(|error| refused(&format!("its Cargo.toml is not valid TOML: {error}")))?;
    let name = manifest.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
    if name != Some("plimsoll-sdk") {
        return Err(refused(&"it is not the crate `plimsoll-sdk`"));
    }
    let absolute = std::path::absolute(folder).map_err(|error| refused(&error))?;
    absolute.into_os_string().into_string().map_err(|_| refused(&"its path is not valid UTF-8, which cargo needs"))
}

fn write(path: &Path, content: &[u8]) -> Result<(), NewError> {
    let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, content));
    written.map_err(|error| NewError::NotWritten { path: path.to_owned(), error })
}
