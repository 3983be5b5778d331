//! Writes the folder that `plimsoll init` makes: the configuration with its schema, the model and the labels.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::labels::Labels;
use super::probe::ModelFiles;
use super::setting::Setting;
use crate::cli::error::Error;
use crate::config::{Config, SCHEMA_FILE};

/// The configuration file of the folder.
const CONFIG: &str = "plimsoll.toml";
/// A configuration file of the folder that is removed again.
const TRIAL: &str = ".plimsoll-trial.toml";
/// The file with the labels.
const LABELS: &str = "labels.txt";

/// What the configuration file says.
pub(in crate::cli) struct Contents<'a> {
    /// The name of the pipeline and of the model.
    pub(in crate::cli) name: &'a str,
    /// A sentence about the model.
    pub(in crate::cli) description: String,
    /// The backend.
    pub(in crate::cli) backend: &'static str,
    /// Why other backends are not used.
    pub(in crate::cli) rejections: &'a [String],
    /// The path of the backend's library, if it has one.
    pub(in crate::cli) library: Option<PathBuf>,
    /// The settings of `image-preprocess`.
    pub(in crate::cli) preprocess: &'a [Setting],
    /// The postprocess plugin.
    pub(in crate::cli) postprocess: &'a str,
    /// Its settings.
    pub(in crate::cli) settings: &'a [Setting],
    /// The labels, and the key of the setting that names them.
    pub(in crate::cli) labels: Option<(&'a Labels, &'static str)>,
    /// True if `max_batch` is possible.
    pub(in crate::cli) has_batch_axis: bool,
}

impl Contents<'_> {
    /// Writes the folder. Returns the path of the configuration file.
    pub(in crate::cli) fn write(&self, folder: &Path, model: &ModelFiles) -> Result<PathBuf, Error> {
        write_model(folder, model)?;
        if let Some((labels, _)) = self.labels {
            write(&folder.join(LABELS), (labels.names.join("\n") + "\n").as_bytes())?;
        }
        // The schema of another version of plimsoll may be there.
        let schema = folder.join(SCHEMA_FILE);
        fs::write(&schema, format!("{:#}\n", Config::schema())).map_err(|error| failed(&schema, &error))?;
        let config = folder.join(CONFIG);
        write(&config, self.text(&model.file_name()).as_bytes())?;
        Ok(config)
    }

    /// Writes the model and a configuration for a trial into the folder.
    pub(in crate::cli) fn write_trial(&self, folder: &Path, model: &ModelFiles) -> Result<TrialFile, Error> {
        write_model(folder, model)?;
        let path = folder.join(TRIAL);
        fs::write(&path, self.text(&model.file_name())).map_err(|error| failed(&path, &error))?;
        Ok(TrialFile(path))
    }

    fn text(&self, model: &str) -> String {
        let mut text = String::new();
        let mut line = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        line(Config::schema_line());
        line("# Written by `plimsoll init`. Check it with `plimsoll check --config plimsoll.toml`.".into());
        line(format!("# {}", one_line(&self.description)));
        line("# CHECK marks what the model does not say: change it if the model was trained in another way.\n".into());
        if let Some(library) = &self.library {
            line(format!("[backends.{}]", self.backend));
            line(format!("library = {}\n", quoted(&library.to_string_lossy())));
        }
        line(format!("[models.{}]", self.name));
        line(format!("file = {}", quoted(model)));
        line(format!("backend = {}", quoted(self.backend)));
        for rejection in self.rejections {
            line(format!("# {}", one_line(rejection)));
        }
        if self.has_batch_axis {
            line(
                "# max_batch = 8   # combines requests that wait at the same time into one run; tried at the start"
                    .into(),
            );
        }
        line(format!("\n[pipelines.{}]\nmodel = {}", self.name, quoted(self.name)));
        let stage =
            |name: &str, plugin: &str| format!("\n[pipelines.{}.{name}]\nplugin = {}", self.name, quoted(plugin));
        line(stage("preprocess", "image-preprocess"));
        line(format!("\n[pipelines.{}.preprocess.config]", self.name));
        line(settings(self.preprocess));
        line(stage("chips.native", "infer-native").trim_start().to_owned());
        line(stage("postprocess", self.postprocess));
        if self.labels.is_some() {
            line(format!("assets = {{ {0} = {0} }}", quoted(LABELS)));
        }
        let labels = self.labels.map(|(labels, key)| {
            Setting::known(key, LABELS, format!("{} lines, from {}", labels.names.len(), labels.source))
        });
        let all: Vec<_> = self.settings.iter().cloned().chain(labels).collect();
        if !all.is_empty() {
            line(format!("\n[pipelines.{}.postprocess.config]", self.name));
            line(settings(&all).trim_end().to_owned());
        }
        text
    }
}

/// A configuration file that is removed on drop.
pub(in crate::cli) struct TrialFile(PathBuf);

impl TrialFile {
    /// Its path.
    pub(in crate::cli) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TrialFile {
    fn drop(&mut self) {
        // Nothing is lost if it stays.
        let _ = fs::remove_file(&self.0);
    }
}

fn write_model(folder: &Path, model: &ModelFiles) -> Result<(), Error> {
    write(&folder.join(model.file_name()), &model.bytes)?;
    model.external.iter().try_for_each(|(name, bytes)| write(&folder.join(name), bytes))
}

/// Writes a file. One with other bytes that is already there is not replaced.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    // The model may be in the folder already.
    if fs::read(path).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|error| failed(parent, &error))?;
    }
    let created = fs::OpenOptions::new().write(true).create_new(true).open(path);
    created.and_then(|mut file| std::io::Write::write_all(&mut file, bytes)).map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::Failed(format!("{} cannot be written: {error}", path.display()))
}

/// The longest key and value whose comment is aligned with others.
const ALIGNED: usize = 40;

/// A line for each setting, with its reason as a comment.
fn settings(settings: &[Setting]) -> String {
    let mut text = String::new();
    // Comments are aligned, except those after long values.
    let length = |setting: &Setting| setting.key.len() + setting.value.len();
    let width = settings.iter().map(length).filter(|&length| length <= ALIGNED).max().unwrap_or(0);
    for Setting { key, value, reason, is_assumed } in settings {
        let space = width.saturating_sub(key.len() + value.len()) + 3;
        let mark = if *is_assumed { "CHECK: " } else { "" };
        let _ = writeln!(text, "{key} = {value}{:space$}# {mark}{}", "", one_line(reason));
    }
    text
}

/// A text of TOML.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Comments end with the line, so a text of a model or a library may not begin another one.
fn one_line(text: &str) -> String {
    text.split(['\n', '\r']).map(str::trim).collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_control()).collect()
}
