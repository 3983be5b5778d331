//! Builds a plugin in C or C++ with clang.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use plimsoll_runtime::component::module;
use plimsoll_runtime::kind::StageKind;
use wit_component::StringEncoding;
use wit_parser::{Resolve, UnresolvedPackageGroup};

use super::error::BuildError;
use super::manifest::{Package, kind, world};
use super::{Built, tools};
use crate::cli::commands::plugin::sdk;

const NEEDED: &str = "a plugin in C or C++ needs clang with a C library for WebAssembly: set WASI_SDK_PATH to the folder of \
    the WASI SDK, or install your distribution's packages (Debian: `apt-get install clang lld wasi-libc \
    libclang-rt-dev-wasm32`, for C++ also `libc++-dev-wasm32`)";

/// Builds the plugin in a folder: compiles each source, links a module, writes the type of the component into it, and
/// converts it.
pub(super) fn build(dir: &Path) -> Result<Built, BuildError> {
    let manifest = dir.join("plugin.toml");
    let package = Package::read(&manifest, "")?;
    let name = package.name()?;
    let kind = kind(package.text("kind").as_deref())
        .ok_or_else(|| BuildError::NoKind { manifest: manifest.clone(), key: "kind" })?;
    let texts = |key| {
        let problem = "not a list of texts";
        package.texts(key).ok_or_else(|| BuildError::InvalidKey { manifest: manifest.clone(), key, problem })
    };
    let sources = texts("sources")?;
    let flags = texts("flags")?;
    let is_cpp = package.text("language").is_some_and(|language| language == "c++");
    // A plugin in a checkout names the SDK's folder there; other plugins have a copy.
    let sdk = match package.text("sdk") {
        Some(path) => dir.join(&path).canonicalize().map_err(|_| BuildError::NoSdk(dir.join(path)))?,
        None => tools::sdk_part(dir, "")?,
    };
    let bindings = if package.text("sdk").is_some() { sdk.join(kind.as_str()) } else { sdk.clone() };

    let dir = dir.canonicalize().map_err(|error| BuildError::Folder { folder: dir.to_owned(), error })?;
    let work = tools::work_folder(&dir)?;
    let mut objects = Vec::new();
    let own = sources.iter().map(|source| (dir.join(source), flags.as_slice()));
    // Warnings of the SDK's files are none of the author's business.
    let quiet = ["-O2".to_owned(), "-w".to_owned()];
    let shared = [bindings.join("plimsoll.c"), sdk.join("stage.c")].map(|source| (source, quiet.as_slice()));
    for (source, flags) in own.chain(shared) {
        let object = work.join(format!("{}.o", objects.len()));
        let mut command = compiler(extension(&source) != "c");
        // Line tables let the leak laboratory name functions and lines.
        command.current_dir(&dir).arg("-g").args(flags).arg("-I").arg(&sdk).arg("-I").arg(&bindings);
        command.arg("-c").arg(&source).arg("-o").arg(&object);
        tools::run(&mut command, &format!("the compilation of {}", source.display()), NEEDED)?;
        objects.push(object);
    }

    let linked = work.join("module.wasm");
    let mut command = compiler(is_cpp);
    command
        .current_dir(&dir)
        .args(&objects)
        // No `main`, but functions that the host calls.
        .arg("-mexec-model=reactor")
        // The stack lies before the data, so that an overflow is a trap, and has the size of the other plugins' stacks.
        .args(["-Wl,-z,stack-size=262144", "-Wl,--stack-first"])
        .arg("-o")
        .arg(&linked);
    tools::run(&mut command, "the linker", NEEDED)?;
    let bytes = component(tools::read(&linked)?, kind).map_err(BuildError::NotConverted)?;
    Ok(Built { name, bytes, metadata: package.metadata() })
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

/// A call of clang for the target.
fn compiler(is_cpp: bool) -> Command {
    let program = if is_cpp { "clang++" } else { "clang" };
    // The WASI SDK and distributions have different names for the same target, WASI preview 1.
    let (program, target) = match env::var_os("WASI_SDK_PATH").filter(|path| !path.is_empty()) {
        Some(folder) => (PathBuf::from(folder).join("bin").join(program).into_os_string(), "--target=wasm32-wasip1"),
        None => (OsString::from(program), "--target=wasm32-wasi"),
    };
    let mut command = Command::new(program);
    command.arg(target).stdin(Stdio::null());
    if is_cpp {
        // The C++ libraries for WebAssembly are built without exceptions.
        command.arg("-fno-exceptions");
    }
    command
}

/// Converts a module to a component of the world of this kind.
///
/// # Errors
/// If its imports and exports are not those of the world; the text names them.
fn component(mut module: Vec<u8>, kind: StageKind) -> Result<Vec<u8>, String> {
    let text = |error: &dyn std::fmt::Display| format!("{error:#}");
    let mut resolve = Resolve::default();
    let mut stage = None;
    // The packages that the interface depends on come first in the list.
    for (path, content) in sdk::wit() {
        let group = UnresolvedPackageGroup::parse(path, content).map_err(|(_, error)| text(&error))?;
        stage = Some(resolve.push_group(group).map_err(|error| text(&error))?);
    }
    let stage = stage.ok_or("the interface is missing")?;
    let world = resolve.select_world(&[stage], Some(world(kind))).map_err(|error| text(&error))?;
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .map_err(|error| text(&error))?;
    module::component(&module).map_err(|error| text(&error))
}
