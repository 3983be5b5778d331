//! The languages in which plugins can be written.

use std::path::Path;

use clap::ValueEnum;

/// A language of plugins.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Language {
    Rust,
    Python,
    #[value(name = "javascript", alias = "js")]
    JavaScript,
    C,
    #[value(name = "cpp", alias = "c++")]
    Cpp,
}

impl Language {
    /// The file that describes a plugin in this language, in the plugin's folder.
    pub(super) fn manifest(self) -> &'static str {
        match self {
            Self::Rust => "Cargo.toml",
            Self::Python => "pyproject.toml",
            Self::JavaScript => "package.json",
            Self::C | Self::Cpp => "plugin.toml",
        }
    }

    /// The language of the plugin in a folder, by the manifest that the folder has. C++ counts as C, because both have the
    /// same manifest. `None` if the folder has no manifest.
    pub(super) fn of_folder(folder: &Path) -> Option<Self> {
        let languages = [Self::Rust, Self::Python, Self::JavaScript, Self::C];
        languages.into_iter().find(|language| folder.join(language.manifest()).exists())
    }
}
