//! `plimsoll plugin new`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use plimsoll_runtime::kind::StageKind;

use super::{name, sdk};
use crate::cli::error::Error;
use crate::cli::output::out;
use crate::cli::stage_kind;

/// The folder in a new crate that contains the copy of the SDK.
const COPY: &str = "plimsoll";

macro_rules! template {
    ($file:literal) => {
        include_str!(concat!("../../../../templates/plugin/", $file))
    };
}

#[derive(Debug, Args)]
pub(in crate::cli) struct New {
    /// The plugin's name, lower-case words joined by hyphens: the name of its crate and of its `.wasm` file.
    name: String,
    /// The kind of stage that the plugin implements.
    #[arg(long, value_parser = stage_kind::parser())]
    kind: StageKind,
    /// The folder to create; default NAME in the current folder.
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Depend on the SDK in this folder, `plugins/sdk` of a checkout, instead of a copy in the new crate.
    #[arg(long, value_name = "PATH")]
    sdk: Option<PathBuf>,
}

/// Why a crate is not created.
#[derive(Debug, thiserror::Error)]
enum NewError {
    #[error("{} is not empty: name another folder with `--path`, or empty it first", .0.display())]
    NotEmpty(PathBuf),
    #[error("{} cannot become the plugin's folder: {error}", folder.display())]
    Folder { folder: PathBuf, error: io::Error },
    #[error("--sdk {}: {reason}; use the folder `plugins/sdk` of a checkout", folder.display())]
    Sdk { folder: PathBuf, reason: String },
    #[error("{} cannot be written: {error}", path.display())]
    NotWritten { path: PathBuf, error: io::Error },
}

impl New {
    pub(in crate::cli) fn run(self) -> Result<(), Error> {
        name::check(&self.name).map_err(Error::failed)?;
        let folder = self.path.clone().unwrap_or_else(|| PathBuf::from(&self.name));
        check_vacant(&folder).map_err(Error::failed)?;
        let files = self.files().map_err(Error::failed)?;
        for (path, text) in files {
            write(&folder.join(path), &text).map_err(Error::failed)?;
        }
        out!("created the {} plugin `{}` in {}", self.kind.as_str(), self.name, folder.display());
        out!("next: `plimsoll plugin build {}`; its README.md describes the other steps", folder.display());
        Ok(())
    }

    /// Returns the path and text of every file of the crate.
    fn files(&self) -> Result<Vec<(PathBuf, String)>, NewError> {
        let template = Template::of(self.kind);
        let mut copy = Vec::new();
        let dependency = match &self.sdk {
            Some(given) => checked_sdk(given)?,
            None => {
                copy.extend(sdk::files().map(|(path, text)| (Path::new(COPY).join(path), text)));
                format!("{COPY}/{}", sdk::FOLDER)
            }
        };
        // Written as a TOML string, because a path may contain characters such as quotes.
        let dependency = toml::Value::from(dependency).to_string();
        let stage = |kind: StageKind, shipped: &'static str| if kind == self.kind { &self.name } else { shipped };
        let profile = sdk::profile();
        let words = [
            ("name", self.name.as_str()),
            ("library", &self.name.replace('-', "_")),
            ("kind", self.kind.as_str()),
            ("sdk", &dependency),
            ("sdk_version", env!("CARGO_PKG_VERSION")),
            ("dependencies", template.dependencies),
            ("profile", profile.trim_end()),
            ("channel", &sdk::channel()),
            ("about", template.about.trim_end()),
            ("test", template.test),
            ("preprocess", stage(StageKind::Preprocess, "image-preprocess")),
            ("infer", stage(StageKind::Infer, "infer-native")),
            ("postprocess", stage(StageKind::Postprocess, "classify-postprocess")),
            ("config", template.config),
        ];
        let common = [
            ("Cargo.toml", template!("crate.toml")),
            ("README.md", template!("README.md")),
            (".gitignore", template!("gitignore")),
            ("rust-toolchain.toml", template!("toolchain.toml")),
        ];
        let own =
            common.iter().chain(template.sources).map(|&(path, text)| (PathBuf::from(path), filled(text, &words)));
        let shared = [(".cargo/config.toml", sdk::CARGO_CONFIG), ("Cargo.lock", sdk::LOCK)];
        let shared = shared.map(|(path, text)| (PathBuf::from(path), text.to_owned()));
        Ok(own.chain(shared).chain(copy).collect())
    }
}

/// The parts of a new crate that depend on the kind of the plugin.
struct Template {
    /// Path and text of its sources.
    sources: &'static [(&'static str, &'static str)],
    /// Lines of `[dependencies]` in addition to the SDK.
    dependencies: &'static str,
    /// The README's text about the example.
    about: &'static str,
    /// The README's text about the tests.
    test: &'static str,
    /// The preprocess stage's `config` in the README's pipeline. It matches the input of the bundled model.
    config: &'static str,
}

impl Template {
    fn of(kind: StageKind) -> Self {
        const TEST: &str = "`cargo test` runs the tests of `src/compute.rs` on this machine, without a host.\n\n";
        const IMAGE: &str = r#"{ width = 8, height = 8, channels = "gray", scale = 0.00392156862745098 }"#;
        match kind {
            StageKind::Preprocess => Self {
                sources: &[
                    ("src/lib.rs", template!("preprocess/lib.rs")),
                    ("src/compute.rs", template!("preprocess/compute.rs")),
                ],
                dependencies: "",
                about: template!("preprocess/about.md"),
                test: TEST,
                config: "{ shape = [1, 1, 8, 8] }",
            },
            // An infer plugin only calls the host, so there is nothing to test without a host.
            StageKind::Infer => Self {
                sources: &[("src/lib.rs", template!("infer/lib.rs"))],
                dependencies: "",
                about: template!("infer/about.md"),
                test: "",
                config: IMAGE,
            },
            StageKind::Postprocess => Self {
                sources: &[
                    ("src/lib.rs", template!("postprocess/lib.rs")),
                    ("src/compute.rs", template!("postprocess/compute.rs")),
                ],
                dependencies: "serde = { version = \"1\", features = [\"derive\"] }\nserde_json = \"1\"\n",
                about: template!("postprocess/about.md"),
                test: TEST,
                config: IMAGE,
            },
        }
    }
}

/// Returns the template with every `{{word}}` replaced. Words are replaced in order, so a word whose text contains
/// other words would have to come first. None does.
fn filled(template: &str, words: &[(&str, &str)]) -> String {
    words.iter().fold(template.to_owned(), |text, (word, value)| text.replace(&format!("{{{{{word}}}}}"), value))
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

fn write(path: &Path, text: &str) -> Result<(), NewError> {
    let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, text));
    written.map_err(|error| NewError::NotWritten { path: path.to_owned(), error })
}
