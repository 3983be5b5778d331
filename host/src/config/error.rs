//! A configuration that cannot be served.

use std::path::{Path, PathBuf};

/// A configuration that cannot be served: file, key and reason. Its exit code is 64 (`EX_USAGE` of sysexits.h).
#[derive(Debug, thiserror::Error)]
#[error("{}: {key}{reason}", file.display())]
pub struct ConfigError {
    file: PathBuf,
    key: String,
    reason: String,
    is_temporary: bool,
}

impl ConfigError {
    /// An error at a key such as `pipelines.digits.preprocess.plugin`; an empty key means the file as a whole.
    pub fn new(file: &Path, key: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        let mut key = key.into();
        if !key.is_empty() {
            key.push_str(": ");
        }
        Self { file: file.to_owned(), key, reason: reason.to_string(), is_temporary: false }
    }

    /// Sets whether the cause is the current state of the host. Then the configuration may be tried again.
    #[must_use]
    pub fn temporary(self, is_temporary: bool) -> Self {
        Self { is_temporary, ..self }
    }

    /// Returns true if the cause is the current state of the host, for example no file descriptors.
    pub fn is_temporary(&self) -> bool {
        self.is_temporary
    }
}
