//! Builds a plugin in Python with componentize-py.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::error::BuildError;
use super::manifest::{Package, kind, world};
use super::{Built, tools};

const NEEDED: &str = "a plugin in Python needs python3 3.10 or later with its module venv";
/// The oldest version that componentize-py runs on.
const OLDEST: [u32; 2] = [3, 10];

/// Builds the plugin in a folder.
///
/// The tools are installed into `.venv` of the folder. The modules are built from a copy, because importing a module writes
/// its bytecode next to it.
pub(super) fn build(dir: &Path) -> Result<Built, BuildError> {
    let manifest = dir.join("pyproject.toml");
    let package = Package::read(&manifest, "project")?;
    let name = package.name()?;
    let own = Package::read(&manifest, "tool")?;
    let text = |key: &str| own.table("plimsoll")?.get(key)?.as_str();
    let kind = kind(text("kind"))
        .ok_or_else(|| BuildError::NoKind { manifest: manifest.clone(), key: "tool.plimsoll.kind" })?;
    let module = text("module").unwrap_or("plugin").to_owned();
    let wit = tools::sdk_part(dir, "wit")?;
    let sdk = tools::sdk_part(dir, "plimsoll_sdk")?;

    let dir = dir.canonicalize().map_err(|error| BuildError::Folder { folder: dir.to_owned(), error })?;
    let environment = dir.join(".venv");
    let lock = dir.join("requirements.txt");
    tools::install(&lock, &environment, "the tools of requirements.txt", || install(&environment, &lock))?;

    let work = tools::work_folder(&dir)?;
    let sources = work.join("sources");
    copy_modules(&dir, &sources)?;
    copy_modules(&sdk, &sources.join("plimsoll_sdk"))?;
    let component = work.join("plugin.wasm");
    let mut tool = Command::new(environment.join("bin/componentize-py"));
    tool.current_dir(&work)
        // It excludes the packages of other environments.
        .env("VIRTUAL_ENV", &environment)
        .env_remove("PYTHONPATH")
        .arg("--quiet")
        .arg("--wit-path")
        .arg(wit)
        .arg("--world")
        .arg(format!("plimsoll:stage/{}", world(kind)))
        .arg("componentize")
        .arg(module)
        .arg("--python-path")
        .arg(&sources)
        .arg("--output")
        .arg(&component);
    tools::run(&mut tool, "componentize-py", NEEDED)?;
    Ok(Built { name, bytes: tools::read(&component)?, metadata: package.metadata() })
}

/// Makes the environment and installs the packages of the lock file into it.
fn install(environment: &Path, lock: &Path) -> Result<(), BuildError> {
    let found = tools::version(OsStr::new("python3"), NEEDED)?;
    if found.as_slice() < OLDEST.as_slice() {
        let found = found.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
        return Err(BuildError::OldTool { tool: "python3", found, needed: NEEDED });
    }
    let check = Command::new("python3").args(["-c", "import venv, ensurepip"]).stderr(Stdio::null()).status();
    if !check.is_ok_and(|status| status.success()) {
        return Err(BuildError::MissingPart(
            "the module venv of python3 is missing: install it (Debian: `apt-get install python3-venv`)",
        ));
    }
    tools::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(environment), "`python3 -m venv`", NEEDED)?;
    tools::run(
        Command::new(environment.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check", "--requirement"])
            .arg(lock),
        "`pip install` of requirements.txt",
        NEEDED,
    )
}

/// Copies the modules and packages of a folder, without tests and hidden folders.
fn copy_modules(from: &Path, to: &Path) -> Result<(), BuildError> {
    let of_folder = |error| BuildError::Folder { folder: from.to_owned(), error };
    fs::create_dir_all(to).map_err(|error| BuildError::NotWritten { path: to.to_owned(), error })?;
    for entry in fs::read_dir(from).map_err(of_folder)? {
        let path = entry.map_err(of_folder)?.path();
        let Some(name) = path.file_name().and_then(OsStr::to_str) else { continue };
        if path.is_dir() && path.join("__init__.py").exists() {
            copy_modules(&path, &to.join(name))?;
        } else if name.ends_with(".py") && !name.starts_with("test_") {
            fs::copy(&path, to.join(name)).map_err(|error| BuildError::Unreadable { path: path.clone(), error })?;
        }
    }
    Ok(())
}
