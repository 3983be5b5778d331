//! Runs the compilers and installers of other languages.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::BuildError;
use crate::base::telemetry::print_line;

/// Runs a command. Its output goes to stderr, because stdout is the report of `plimsoll plugin build`.
///
/// # Errors
/// If it cannot be started (`needed` says what to install) or fails; `step` says what it was for.
pub(super) fn run(command: &mut Command, step: &str, needed: &'static str) -> Result<(), BuildError> {
    let tool = command.get_program().display().to_string();
    let output = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| BuildError::NoTool { tool, error, needed })?;
    if !output.status.success() {
        print_line(String::from_utf8_lossy(&output.stdout).trim_end());
        return Err(BuildError::StepFailed { step: step.to_owned(), status: output.status.to_string() });
    }
    Ok(())
}

/// The version that `PROGRAM --version` prints: the first numbers with dots in its output.
///
/// # Errors
/// If the program cannot be started.
pub(super) fn version(program: &OsStr, needed: &'static str) -> Result<Vec<u32>, BuildError> {
    let tool = program.display().to_string();
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    let output = output.map_err(|error| BuildError::NoTool { tool, error, needed })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let word = text
        .split_whitespace()
        .map(|word| word.trim_start_matches('v'))
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    Ok(word.unwrap_or_default().split('.').map_while(|part| part.parse().ok()).collect())
}

/// Installs tools into a folder, unless they were completely installed from the same lock file.
///
/// # Errors
/// If the lock file cannot be read, or the installation fails. Then it is tried again at the next build.
pub(super) fn install(
    lock: &Path,
    folder: &Path,
    what: &str,
    install: impl FnOnce() -> Result<(), BuildError>,
) -> Result<(), BuildError> {
    let wanted = fs::read(lock).map_err(|error| BuildError::Unreadable { path: lock.to_owned(), error })?;
    let mark = folder.join("plimsoll-installed");
    if fs::read(&mark).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    print_line(&format!("installing {what} into {} …", folder.display()));
    install()?;
    fs::write(&mark, wanted).map_err(|error| BuildError::NotWritten { path: mark, error })
}

/// Makes an empty folder for the files of a build, in the plugin's folder `target`.
///
/// # Errors
/// If it cannot be made.
pub(super) fn work_folder(dir: &Path) -> Result<PathBuf, BuildError> {
    let folder = dir.join("target/plugin-build");
    let made = match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => fs::create_dir_all(&folder),
    };
    made.map_err(|error| BuildError::NotWritten { path: folder.clone(), error })?;
    folder.canonicalize().map_err(|error| BuildError::Folder { folder, error })
}

/// The path of a part of the SDK in the plugin's folder, absolute.
///
/// # Errors
/// If it is missing.
pub(super) fn sdk_part(dir: &Path, part: &str) -> Result<PathBuf, BuildError> {
    let path = dir.join("plimsoll").join(part);
    path.canonicalize().map_err(|_| BuildError::NoSdk(path))
}

/// Reads the component that a compiler wrote.
///
/// # Errors
/// If there is none.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, BuildError> {
    fs::read(path).map_err(|error| BuildError::Unreadable { path: path.to_owned(), error })
}
