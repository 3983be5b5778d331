//! `plimsoll plugin list | deploy | rollback`: the administration routes of a running server.

use std::path::{Path, PathBuf};

use clap::Args;
use plimsoll_runtime::identity::{check_plugin_name, check_version, digest};
use plimsoll_runtime::text::printable;
use reqwest::Method;
use serde_json::Value;

use crate::base::telemetry::print_line;
use crate::cli::administration::Administration;
use crate::cli::client::Reply;
use crate::cli::error::Error;
use crate::cli::output::out;

/// Maximum bytes of a text of the server that are printed.
const MAX_TEXT: usize = 4_096;

/// Sends a request and returns the JSON of the reply.
async fn send(server: &Administration, method: Method, path: &str, body: Vec<u8>) -> Result<Value, Error> {
    let server = server.client(None)?;
    let Reply { status, text } = server.send(method, path, body).await?;
    let answer: Value = serde_json::from_str(&text).map_err(|_| {
        Error::Failed(format!("{} replied with {status} and without JSON; check --server", server.shown(path)))
    })?;
    if !status.is_success() {
        return Err(Error::Failed(answer["detail"].as_str().unwrap_or(&text).to_owned()));
    }
    Ok(answer)
}

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    server: Administration,
}

impl List {
    pub(in crate::cli) async fn run(self) -> Result<(), Error> {
        let answer = send(&self.server, Method::GET, "/v1/plugins", Vec::new()).await?;
        let plugins = answer["plugins"].as_array().map(Vec::as_slice).unwrap_or_default();
        out!(
            "{:<24} {:<10} {:<14} {:<12} {:>10} {:>9} {:>12}  source",
            "plugin",
            "state",
            "version",
            "digest",
            "runs",
            "failures",
            "high water"
        );
        for plugin in plugins {
            let text = |value: &Value| printable(value.as_str().unwrap_or_default(), MAX_TEXT);
            for version in plugin["versions"].as_array().into_iter().flatten() {
                out!(
                    "{:<24} {:<10} {:<14} {:<12.12} {:>10} {:>9} {:>12}  {}",
                    text(&plugin["name"]),
                    text(&version["state"]),
                    text(&version["version"]),
                    text(&version["digest"]),
                    version["runs"].to_string(),
                    version["failures"].to_string(),
                    version["high_water"].to_string(),
                    text(&version["source"])
                );
                if let Some(reason) = version["reason"].as_str() {
                    out!("{:<24} {}", "", printable(reason, MAX_TEXT));
                }
            }
            if let Some(note) = plugin["note"].as_str() {
                out!("{:<24} {}", "", printable(note, MAX_TEXT));
            }
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Deploy {
    /// The component, a `.wasm` file.
    file: PathBuf,
    /// The plugin's name; default the file name up to an `@`, without `.wasm`.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    server: Administration,
}

impl Deploy {
    pub(in crate::cli) async fn run(self) -> Result<(), Error> {
        let bytes = std::fs::read(&self.file)
            .map_err(|error| Error::Failed(format!("{} cannot be read: {error}", self.file.display())))?;
        let stem = self.file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let (stem, version) = stem.split_once('@').map_or((stem, None), |(name, version)| (name, Some(version)));
        let name = self.name.as_deref().unwrap_or(stem);
        check_plugin_name(name).map_err(Error::failed)?;
        version.map_or(Ok(()), check_version).map_err(Error::failed)?;
        let version = version.map(|version| format!("&version={}", in_query(version))).unwrap_or_default();
        let path = format!("/v1/plugins/{name}?sha256={}{version}", digest(&bytes));
        let answer = send(&self.server, Method::PUT, &path, bytes).await?;
        out!("{name} {} ({}) is {}", word(&answer["version"]), word(&answer["digest"]), word(&answer["state"]));
        match (answer["manifest"].as_str(), manifest_beside(&self.file, name)) {
            (Some(used), _) => out!("with the manifest {} of the server", printable(used, MAX_TEXT)),
            (None, Some(unused)) => print_line(&format!(
                "warning: {} is not used, because only the component is sent; put it into the plugin folder of the \
                 server, and deploy again",
                unused.display()
            )),
            (None, None) => {}
        }
        print_warning(&answer);
        Ok(())
    }
}

/// The manifest next to a component on this machine.
fn manifest_beside(component: &Path, name: &str) -> Option<PathBuf> {
    let named = component.with_file_name(format!("{name}.toml"));
    [component.with_extension("toml"), named].into_iter().find(|path| path.is_file())
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Rollback {
    /// The plugin's name.
    name: String,
    /// The version, or the first digits of its digest; default the latest previous version.
    #[arg(long)]
    to: Option<String>,
    #[command(flatten)]
    server: Administration,
}

impl Rollback {
    pub(in crate::cli) async fn run(self) -> Result<(), Error> {
        check_plugin_name(&self.name).map_err(Error::failed)?;
        self.to.as_deref().map_or(Ok(()), check_version).map_err(Error::failed)?;
        let query = self.to.map(|to| format!("?to={}", in_query(&to))).unwrap_or_default();
        let path = format!("/v1/plugins/{}/rollback{query}", self.name);
        let answer = send(&self.server, Method::POST, &path, Vec::new()).await?;
        out!("{} {} ({}) is serving", self.name, word(&answer["version"]), word(&answer["digest"]));
        print_warning(&answer);
        Ok(())
    }
}

/// Prints the warning of a reply, for example that a restart forgets the change.
fn print_warning(answer: &Value) {
    if let Some(warning) = answer["warning"].as_str() {
        print_line(&format!("warning: {warning}"));
    }
}

/// Encodes a version for a query. Of the characters of semantic versions, only `+` has another meaning in a query.
fn in_query(version: &str) -> String {
    version.replace('+', "%2B")
}

fn word(value: &Value) -> String {
    printable(value.as_str().unwrap_or("?"), MAX_TEXT)
}
