//! What the process that tries a model is asked, and what it answers.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use plimsoll_runtime::nn::{BackendSettings, ModelSource};
use serde::{Deserialize, Serialize};

use crate::config;

/// The question, one line of JSON. The bytes of the files follow it.
#[derive(Serialize, Deserialize)]
pub(super) struct Request {
    /// The name of the model.
    pub(super) name: String,
    /// Its path, for messages.
    path: Vec<u8>,
    /// Its settings.
    pub(super) wanted: config::Model,
    /// The settings of the backend.
    pub(super) settings: BackendSettings,
    /// Where relative paths in them start.
    folder: Vec<u8>,
    /// The length of the model's file.
    pub(super) bytes: usize,
    /// The files with its weights, and their lengths.
    pub(super) external: Vec<(String, usize)>,
    /// The most bytes of memory that the process may take.
    pub(super) memory: Option<u64>,
    /// The process that asks.
    pub(super) parent: u32,
}

/// The answer, one line of JSON.
#[derive(Serialize, Deserialize)]
pub(super) enum Answer {
    /// The model can be loaded. `peak` is the most bytes of memory that were resident.
    Loaded { peak: Option<u64> },
    /// Why it cannot.
    Refused(String),
}

impl Request {
    /// The line that asks to load a model with at most `memory` bytes. Relative paths in `settings`, those of the backend, start at
    /// `folder`.
    ///
    /// # Errors
    /// If the settings cannot be written as JSON.
    pub(super) fn line(
        source: &ModelSource,
        wanted: &config::Model,
        settings: &BackendSettings,
        folder: &Path,
        memory: Option<u64>,
    ) -> io::Result<Vec<u8>> {
        let request = Self {
            name: source.name.clone(),
            path: bytes(&source.path),
            // The server checks the memory. The file comes with the request; its path may be no text.
            wanted: config::Model { file: PathBuf::new(), max_device_memory: None, ..wanted.clone() },
            settings: settings.clone(),
            folder: bytes(folder),
            bytes: source.bytes.len(),
            external: source.external.iter().map(|(name, bytes)| (name.clone(), bytes.len())).collect(),
            memory,
            parent: std::process::id(),
        };
        let mut line = serde_json::to_vec(&request)?;
        line.push(b'\n');
        Ok(line)
    }

    /// The path of the model.
    pub(super) fn path(&self) -> PathBuf {
        path(&self.path)
    }

    /// Where relative paths in the settings start.
    pub(super) fn folder(&self) -> PathBuf {
        path(&self.folder)
    }
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

fn path(bytes: &[u8]) -> PathBuf {
    OsString::from_vec(bytes.to_vec()).into()
}
