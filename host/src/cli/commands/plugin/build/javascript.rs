//! Builds a plugin in JavaScript with componentize-js.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::error::BuildError;
use super::manifest::{kind, world};
use super::{Built, Metadata, tools};

const NEEDED: &str = "a plugin in JavaScript needs node 20 or later and npm";
/// The oldest version that componentize-js runs on.
const OLDEST: u32 = 20;

/// Builds the plugin in a folder. The tools are installed into `node_modules` of the folder.
pub(super) fn build(dir: &Path) -> Result<Built, BuildError> {
    let manifest = dir.join("package.json");
    let text =
        fs::read_to_string(&manifest).map_err(|error| BuildError::Unreadable { path: manifest.clone(), error })?;
    let package: Value =
        serde_json::from_str(&text).map_err(|error| BuildError::NotJson { manifest: manifest.clone(), error })?;
    let text = |key: &str| package[key].as_str().map(str::to_owned);
    let name = text("name").ok_or_else(|| BuildError::NoName { manifest: manifest.clone(), key: "name".to_owned() })?;
    let kind = kind(package["plimsoll"]["kind"].as_str())
        .ok_or_else(|| BuildError::NoKind { manifest: manifest.clone(), key: "plimsoll.kind" })?;
    let module = text("main").unwrap_or_else(|| "plugin.js".to_owned());
    let wit = tools::sdk_part(dir, "wit")?;

    let dir = dir.canonicalize().map_err(|error| BuildError::Folder { folder: dir.to_owned(), error })?;
    check_node()?;
    let modules = dir.join("node_modules");
    tools::install(&dir.join("package-lock.json"), &modules, "the tools of package-lock.json", || {
        let mut npm = Command::new("npm");
        npm.current_dir(&dir).args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]);
        tools::run(&mut npm, "`npm ci`", NEEDED)
    })?;

    let component = tools::work_folder(&dir)?.join("plugin.wasm");
    let mut tool = Command::new(modules.join(".bin/componentize-js"));
    tool.current_dir(&dir)
        .arg(module)
        .arg("--wit")
        .arg(wit)
        .args(["--world-name", world(kind)])
        // Only the output streams of WASI are kept, so that `console.log` reaches the host's log. The host does not provide
        // wasi:http.
        .args(["--disable", "http", "fetch-event", "random", "clocks"])
        .arg("--out")
        .arg(&component);
    tools::run(&mut tool, "componentize-js", NEEDED)?;
    let author = package["author"].as_str().or_else(|| package["author"]["name"].as_str());
    let metadata = Metadata {
        version: text("version"),
        description: text("description"),
        license: text("license"),
        authors: author.map(str::to_owned).into_iter().collect(),
    };
    Ok(Built { name, bytes: tools::read(&component)?, metadata })
}

fn check_node() -> Result<(), BuildError> {
    let found = tools::version(OsStr::new("node"), NEEDED)?;
    if found.first().is_none_or(|&major| major < OLDEST) {
        let found = found.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
        return Err(BuildError::OldTool { tool: "node", found, needed: NEEDED });
    }
    Ok(())
}
