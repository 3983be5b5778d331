//! `plimsoll plugin list | deploy | rollback`: the administration routes of a running server.

use std::path::PathBuf;

use clap::Args;
use plimsoll_runtime::identity::{check_plugin_name, digest};
use serde_json::Value;

use crate::cli::error::Error;

/// The server's address, and the token for its administration.
#[derive(Debug, Args)]
struct Server {
    /// The server's address.
    #[arg(long, value_name = "URL", env = "PLIMSOLL_SERVER", default_value = "http://127.0.0.1:8080")]
    server: String,
    /// The file with the administration token; default the token in the variable PLIMSOLL_ADMIN_TOKEN.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Server {
    /// Sends a request and returns the JSON of the reply.
    async fn send(&self, method: reqwest::Method, path: &str, body: Vec<u8>) -> Result<Value, Error> {
        let url = format!("{}{path}", self.server.trim_end_matches('/'));
        let mut request = reqwest::Client::new().request(method, &url).body(body);
        let token = match &self.token_file {
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .map_err(|error| Error::Failed(format!("{} cannot be read: {error}", path.display())))?,
            ),
            None => std::env::var("PLIMSOLL_ADMIN_TOKEN").ok(),
        };
        if let Some(token) = token {
            request = request.bearer_auth(token.trim());
        }
        let unreachable = |error: reqwest::Error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            Error::Failed(format!("{url} does not answer: {error}{cause}; set the address of the server with --server"))
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let text = response.text().await.map_err(unreachable)?;
        let answer: Value = serde_json::from_str(&text)
            .map_err(|_| Error::Failed(format!("{url} replied with {status} and without JSON; check --server")))?;
        if !status.is_success() {
            return Err(Error::Failed(answer["detail"].as_str().unwrap_or(&text).to_owned()));
        }
        Ok(answer)
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    server: Server,
}

impl List {
    pub(in crate::cli) async fn run(self) -> Result<(), Error> {
        let answer = self.server.send(reqwest::Method::GET, "/v1/plugins", Vec::new()).await?;
        let plugins = answer["plugins"].as_array().map(Vec::as_slice).unwrap_or_default();
        println!(
            "{:<24} {:<10} {:<14} {:<12} {:>10} {:>9} {:>12}  source",
            "plugin", "state", "version", "digest", "runs", "failures", "high water"
        );
        for plugin in plugins {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            for version in plugin["versions"].as_array().into_iter().flatten() {
                println!(
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
                    println!("{:<24} {reason}", "");
                }
            }
            if let Some(note) = plugin["note"].as_str() {
                println!("{:<24} {note}", "");
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
    server: Server,
}

impl Deploy {
    pub(in crate::cli) async fn run(self) -> Result<(), Error> {
        let bytes = std::fs::read(&self.file)
            .map_err(|error| Error::Failed(format!("{} cannot be read: {error}", self.file.display())))?;
        let stem = self.file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let (stem, version) = stem.split_once('@').map_or((stem, None), |(name, version)| (name, Some(version)));
        let name = self.name.as_deref().unwrap_or(stem);
        check_plugin_name(name).map_err(Error::failed)?;
        let version = version.map(|version| format!("&version={}", in_query(version))).unwrap_or_default();
        let path = format!("/v1/plugins/{name}?sha256={}{version}", digest(&bytes));
        let answer = self.server.send(reqwest::Method::PUT, &path, bytes).await?;
        println!("{name} {} ({}) is {}", word(&answer["version"]), word(&answer["digest"]), word(&answer["state"]));
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Rollback {
    /// The plugin's name.
    name: String,
    /// The version, or the first digits of its digest; default the latest previous version.
    #[arg(long)]
    to: Option<String>,
    #[command(flatten)]
    server: Server,
}

impl Rollback {
    pub(in crate::cli) async fn run(self) -> Result<(), Error> {
        check_plugin_name(&self.name).map_err(Error::failed)?;
        let query = self.to.map(|to| format!("?to={}", in_query(&to))).unwrap_or_default();
        let path = format!("/v1/plugins/{}/rollback{query}", self.name);
        let answer = self.server.send(reqwest::Method::POST, &path, Vec::new()).await?;
        println!("{} {} ({}) is serving", self.name, word(&answer["version"]), word(&answer["digest"]));
        Ok(())
    }
}

/// Encodes a version for a query. Of the characters of semantic versions, only `+` has another meaning in a query.
fn in_query(version: &str) -> String {
    version.replace('+', "%2B")
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}
