//! What the manifests of the languages have in common.

use std::fs;
use std::path::{Path, PathBuf};

use plimsoll_runtime::kind::StageKind;
use toml::{Table, Value};

use super::Metadata;
use super::error::BuildError;

/// A table with the name of a plugin and what else is known about it.
pub(super) struct Package {
    manifest: PathBuf,
    /// The name of the table in the file; empty if the file itself is the table.
    name: &'static str,
    table: Table,
}

impl Package {
    /// Reads a TOML file and takes the table `name` of it, or all of it if `name` is empty.
    ///
    /// # Errors
    /// If the file cannot be read or is not TOML. Without the table, the package has no name.
    pub(super) fn read(manifest: &Path, name: &'static str) -> Result<Self, BuildError> {
        let text = fs::read_to_string(manifest)
            .map_err(|error| BuildError::Unreadable { path: manifest.to_owned(), error })?;
        let mut table: Table = text
            .parse()
            .map_err(|error| BuildError::NotToml { manifest: manifest.to_owned(), error: Box::new(error) })?;
        if !name.is_empty() {
            table = match table.remove(name) {
                Some(Value::Table(table)) => table,
                _ => Table::new(),
            };
        }
        Ok(Self { manifest: manifest.to_owned(), name, table })
    }

    /// The plugin's name.
    ///
    /// # Errors
    /// If the table has none.
    pub(super) fn name(&self) -> Result<String, BuildError> {
        let key = if self.name.is_empty() { "name".to_owned() } else { format!("{}.name", self.name) };
        self.text("name").ok_or_else(|| BuildError::NoName { manifest: self.manifest.clone(), key })
    }

    /// The text of a key.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.table.get(key).and_then(Value::as_str).map(str::to_owned)
    }

    /// A table in the table.
    pub(super) fn table(&self, key: &str) -> Option<&Table> {
        self.table.get(key).and_then(Value::as_table)
    }

    /// The texts of a list, or `None` if the key is not a list of texts.
    pub(super) fn texts(&self, key: &str) -> Option<Vec<String>> {
        self.table.get(key)?.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
    }

    /// Version, description, license and authors. An author is a text, or a table with a `name` as in `pyproject.toml`.
    pub(super) fn metadata(&self) -> Metadata {
        let authors = self.table.get("authors").and_then(Value::as_array).into_iter().flatten();
        let author = |author: &Value| author.as_str().or_else(|| author.get("name")?.as_str()).map(str::to_owned);
        Metadata {
            version: self.text("version"),
            description: self.text("description"),
            license: self.text("license"),
            authors: authors.filter_map(author).collect(),
        }
    }
}

/// The kind of a stage, as a manifest names it.
pub(super) fn kind(text: Option<&str>) -> Option<StageKind> {
    StageKind::ALL.into_iter().find(|kind| text == Some(kind.as_str()))
}

/// The world of a kind of stage in `wit/stage.wit`.
pub(super) fn world(kind: StageKind) -> &'static str {
    match kind {
        StageKind::Preprocess => "preprocessor",
        StageKind::Infer => "inferencer",
        StageKind::Transform => "transformer",
        StageKind::Postprocess => "postprocessor",
    }
}
