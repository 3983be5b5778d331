//! The library of ONNX Runtime: loaded once in a process, with its messages in the log.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::LoadDynamicError;
use ort::environment::Environment;
use ort::logging::LogLevel;

use super::library_file;

/// The library that this process has loaded.
enum Loaded {
    None,
    /// Loaded, but it has made no environment. The crate keeps the first library that it loads until the process ends, so
    /// another one would be this one under another name.
    Unusable(PathBuf),
    Usable(PathBuf, Environment),
}

/// The library's environment. A process can have only one: the first library that is requested is loaded, and to
/// request another one is an error, also if the first one cannot be used.
pub(super) fn environment(library: &Path) -> Result<Environment, LibraryError> {
    static LOADED: Mutex<Loaded> = Mutex::new(Loaded::None);
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    match &*loaded {
        Loaded::Usable(known, environment) if known == library => return Ok(environment.clone()),
        Loaded::Usable(known, _) => return Err(LibraryError::AnotherIsLoaded(known.clone())),
        Loaded::Unusable(known) if known != library => return Err(LibraryError::AnotherIsUnusable(known.clone())),
        Loaded::Unusable(_) | Loaded::None => {}
    }
    // A name without a folder is one that the loader looks for.
    if library.components().count() > 1 {
        library_file::check(library).map_err(|error| LibraryError::NotLoaded(error.to_string()))?;
    }
    // Without a logger the library writes to stderr on the thread of the request, which waits if nothing reads stderr.
    let init = || -> Result<Environment, LibraryError> {
        let new = ort::init_from(library).map_err(LibraryError::of_load)?;
        *loaded = Loaded::Unusable(library.to_owned());
        Ok(new.with_name("plimsoll").with_telemetry(false).with_logger(Arc::new(log)).build()?)
    };
    // The crate panics if a library has the right name and version, and no interface.
    let environment = catch_unwind(AssertUnwindSafe(init)).unwrap_or(Err(LibraryError::NoInterface))?;
    // With a logger, `build` sets the most verbose level.
    environment.set_log_level(LogLevel::Error);
    if let Some(version) = version_of(ort::info()).filter(|version| *version < CHECKED) {
        tracing::warn!(
            "{} is ONNX Runtime {}.{}. This host is checked with {}.{}; older versions have optimisations that compute some \
             quantised models wrongly",
            library.display(),
            version.0,
            version.1,
            CHECKED.0,
            CHECKED.1
        );
    }
    *loaded = Loaded::Usable(library.to_owned(), environment.clone());
    Ok(environment)
}

/// The version that the answers of this host are checked with (`host/docs/fidelity.md`).
const CHECKED: (u32, u32) = (1, 32);

/// The version in what a library says about its build: `ORT Build Info: git-branch=rel-1.24.1, …`. `None` for other builds.
fn version_of(info: &str) -> Option<(u32, u32)> {
    let (_, version) = info.split_once("git-branch=rel-")?;
    let mut parts = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

/// Logs a message of the library. What it informs about is too much for the level `info` of the host.
fn log(level: LogLevel, _category: &str, _id: &str, location: &str, message: &str) {
    match level {
        LogLevel::Verbose | LogLevel::Info => tracing::debug!(target: "plimsoll::onnxruntime", location, "{message}"),
        LogLevel::Warning => tracing::warn!(target: "plimsoll::onnxruntime", location, "{message}"),
        LogLevel::Error | LogLevel::Fatal => tracing::error!(target: "plimsoll::onnxruntime", location, "{message}"),
    }
}

/// Why the library cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum LibraryError {
    #[error("this process has already loaded {}; restart it to use another library", .0.display())]
    AnotherIsLoaded(PathBuf),
    #[error("this process has loaded {}, which cannot be used; restart it to use another library", .0.display())]
    AnotherIsUnusable(PathBuf),
    #[error("{0}")]
    NotLoaded(String),
    #[error("it is no library of ONNX Runtime: it does not export `OrtGetApiBase`")]
    Another,
    #[error("it is ONNX Runtime {0}, and this host needs 1.{least} or newer", least = ort::MINOR_VERSION)]
    Version(String),
    #[error("it does not have the interface that its version has; the file is damaged, or another library")]
    NoInterface,
    #[error(transparent)]
    Ort(#[from] ort::Error),
}

impl LibraryError {
    fn of_load(error: LoadDynamicError) -> Self {
        match error {
            LoadDynamicError::Dlopen { error, .. } => {
                let reason = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                Self::NotLoaded(reason)
            }
            LoadDynamicError::MissingApi { .. } => Self::Another,
            LoadDynamicError::BadVersion { version_str, .. } => Self::Version(version_str),
            LoadDynamicError::InvalidVersionString => Self::NoInterface,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_build() {
        let of_branch =
            |branch: &str| version_of(&format!("ORT Build Info: git-branch={branch}, git-commit-id=b5963e82c8"));
        assert_eq!(of_branch("rel-1.24.1"), Some((1, 24)));
        assert!(of_branch("rel-1.9.0") < Some(CHECKED), "as numbers, not as text");
        assert_eq!((of_branch("main"), of_branch("rel-x"), version_of("")), (None, None, None));
    }
}
