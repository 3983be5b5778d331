//! The files of a new plugin.

mod c;
mod javascript;
mod python;
mod rust;

use std::path::{Path, PathBuf};

use plimsoll_runtime::kind::StageKind;

use super::language::Language;
use crate::config::{Config, SCHEMA_FILE};

/// The folder in a new plugin that contains the copy of the SDK.
pub(super) const COPY: &str = "plimsoll";

/// Embeds a file of `host/templates/plugin`.
macro_rules! template {
    ($file:literal) => {
        include_str!(concat!("../../../../../templates/plugin/", $file))
    };
}
use template;

/// What a new plugin is made of.
pub(super) struct Plugin<'a> {
    pub(super) name: &'a str,
    pub(super) kind: StageKind,
    pub(super) language: Language,
    /// For Rust: the path of the SDK to depend on, instead of a copy.
    pub(super) sdk: Option<String>,
}

/// The parts that a language adds to the files that all plugins have.
struct Parts {
    /// Path and text of its files. The words of [`Plugin::files`] are replaced in them.
    sources: Vec<(&'static str, &'static str)>,
    /// Path and content of files that are copied as they are.
    copied: Vec<(PathBuf, Vec<u8>)>,
    /// Words that only its files have.
    words: Vec<(&'static str, String)>,
    /// The README's texts about the build, the tests and the SDK.
    build: &'static str,
    test: &'static str,
    sdk: &'static str,
}

impl Plugin<'_> {
    /// Returns the path and content of every file of the plugin.
    pub(super) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let parts = match self.language {
            Language::Rust => rust::parts(self.kind, self.sdk.as_deref()),
            Language::Python => python::parts(self.kind),
            Language::JavaScript => javascript::parts(self.kind, self.name),
            Language::C => c::parts(self.kind, c::Dialect::C),
            Language::Cpp => c::parts(self.kind, c::Dialect::Cpp),
        };
        let about = match self.kind {
            StageKind::Preprocess => template!("about/preprocess.md"),
            StageKind::Infer => template!("about/infer.md"),
            StageKind::Transform => template!("about/transform.md"),
            StageKind::Postprocess => template!("about/postprocess.md"),
        };
        let stage = |kind: StageKind, shipped: &'static str| if kind == self.kind { self.name } else { shipped };
        let sample = Sample::of(self.kind);
        // The texts of a part contain other words, so they come first.
        let mut words = vec![
            ("about", about.trim_end().to_owned()),
            ("build", parts.build.trim_end().to_owned()),
            ("test", parts.test.to_owned()),
            ("sdk_text", parts.sdk.trim_end().to_owned()),
        ];
        words.extend(parts.words);
        words.extend([
            ("schema_line", Config::schema_line()),
            ("name", self.name.to_owned()),
            ("library", self.name.replace('-', "_")),
            ("kind", self.kind.as_str().to_owned()),
            ("sdk_version", env!("CARGO_PKG_VERSION").to_owned()),
            ("sample", sample.path.to_owned()),
            ("config", sample.config.to_owned()),
            ("preprocess", stage(StageKind::Preprocess, "image-preprocess").to_owned()),
            ("infer", stage(StageKind::Infer, "infer-native").to_owned()),
            ("postprocess", stage(StageKind::Postprocess, "classify-postprocess").to_owned()),
        ]);
        let (config, readme) = match self.kind {
            StageKind::Transform => (
                template!("steps.toml"),
                template!("README.md").replace("--pipeline demo", "--pipeline demo --step step"),
            ),
            _ => (template!("plimsoll.toml"), template!("README.md").to_owned()),
        };
        let common =
            [("README.md", readme.as_str()), ("plimsoll.toml", config), (".gitignore", template!("gitignore"))];
        let texts = common.into_iter().chain(parts.sources);
        let texts = texts.map(|(path, text)| (PathBuf::from(path), filled(text, &words).into_bytes()));
        let schema = (PathBuf::from(SCHEMA_FILE), format!("{:#}\n", Config::schema()).into_bytes());
        texts.chain(parts.copied).chain([(PathBuf::from(sample.path), sample.bytes), schema]).collect()
    }
}

/// The input with which a new plugin can be tried.
struct Sample {
    path: &'static str,
    bytes: Vec<u8>,
    /// The preprocess stage's `config` for the input of the bundled model.
    config: &'static str,
}

impl Sample {
    /// A picture of a digit, 8×8 pixels: as a JPEG for `image-preprocess`, as bytes for the preprocess template.
    fn of(kind: StageKind) -> Self {
        const JPEG: &[u8] = include_bytes!("../../../../../../tests/data/digits/7.jpg");
        const ROWS: [&str; 8] =
            ["........", ".######.", ".######.", "....##..", "...##...", "...##...", "..##....", "..##...."];
        match kind {
            StageKind::Preprocess => Self {
                path: "samples/seven.raw",
                bytes: ROWS.iter().flat_map(|row| row.bytes()).map(|dot| if dot == b'#' { 255 } else { 0 }).collect(),
                config: "{ shape = [1, 1, 8, 8] }",
            },
            StageKind::Infer | StageKind::Transform | StageKind::Postprocess => Self {
                path: "samples/7.jpg",
                bytes: JPEG.to_vec(),
                config: r#"{ width = 8, height = 8, channels = "gray", scale = 0.00392156862745098 }"#,
            },
        }
    }
}

/// A text file at this path in the folder of the SDK's copy.
fn copied(path: impl AsRef<Path>, text: &str) -> (PathBuf, Vec<u8>) {
    (Path::new(COPY).join(path), text.as_bytes().to_vec())
}

/// Returns the template with every `{{word}}` replaced, in the order of the words.
fn filled(template: &str, words: &[(&str, String)]) -> String {
    words.iter().fold(template.to_owned(), |text, (word, value)| text.replace(&format!("{{{{{word}}}}}"), value))
}
