//! `plimsoll plugin list | deploy | rollback`: the administration routes of a running server.

use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use clap::Args;
use plimsoll_runtime::identity::{check_plugin_name, check_version, digest};
use plimsoll_runtime::text::printable;
use reqwest::Method;
use serde_json::Value;

use super::fleet::{self, Change};
use super::requests::{MAX_TEXT, send_to};
use super::skew::skew;
use crate::base::telemetry::{clear_status, print_line, show_status};
use crate::cli::administration::{Administrated, Administration};
use crate::cli::error::Error;
use crate::cli::output::out;

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    server: Administration,
}

impl List {
    pub(in crate::cli) async fn run(self) -> Result<(), Error> {
        let servers = self.server.clients(None).await?;
        let (mut views, mut failures) = (Vec::new(), Vec::new());
        for server in &servers {
            match send_to(server, Method::GET, "/v1/plugins", Vec::new()).await {
                Ok(view) => views.push((server.name().to_owned(), view)),
                Err(error) if servers.len() == 1 => return Err(error),
                Err(error) => failures.push(format!("{}: {error}", server.name())),
            }
        }
        for (server, view) in &views {
            if servers.len() > 1 {
                out!("{}", printable(server, MAX_TEXT));
            }
            Self::print(view);
            if servers.len() > 1 {
                out!();
            }
        }
        let lines = skew(&views);
        for line in &lines {
            out!("{line}");
        }
        // The servers that answer are shown before those that do not are named.
        if !failures.is_empty() {
            return Err(Error::Failed(failures.join("; ")));
        }
        if views.len() > 1 && lines.is_empty() {
            out!("all {} servers serve the same versions", views.len());
        }
        Ok(())
    }

    /// Prints the plugins of one server.
    fn print(answer: &Value) {
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
        let digest = digest(&bytes);
        let path = format!("/v1/plugins/{name}?sha256={digest}{version}");
        let servers = self.server.clients(None).await?;
        let size = ByteSize(bytes.len() as u64).display().iec();
        let targets = if servers.len() == 1 { "the server compiles and tries" } else { "the servers compile and try" };
        show_status(&format!("uploading {name} ({size}); {targets} it …"));
        if let [server] = servers.as_slice() {
            let answer = send_to(server, Method::PUT, &path, bytes).await?;
            clear_status();
            self.print(name, &answer);
            return Ok(());
        }
        let change = Change { plugin: name.to_owned(), method: Method::PUT, path, body: bytes, digest };
        let members = fleet::members(servers, name).await?;
        let answers = fleet::change_all(&members, &change).await?;
        clear_status();
        for (member, answer) in members.iter().zip(&answers) {
            out!("{}:", printable(member.server.name(), MAX_TEXT));
            self.print(name, answer);
        }
        Ok(())
    }

    /// Prints what a server did.
    fn print(&self, name: &str, answer: &Value) {
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
        print_warning(answer);
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
    /// End the canary whose digest begins with these digits, and change nothing else
    #[arg(long, value_name = "DIGEST", conflicts_with = "to")]
    canary: Option<String>,
    #[command(flatten)]
    server: Administration,
}

impl Rollback {
    pub(in crate::cli) async fn run(self) -> Result<(), Error> {
        check_plugin_name(&self.name).map_err(Error::failed)?;
        self.to.as_deref().map_or(Ok(()), check_version).map_err(Error::failed)?;
        self.canary.as_deref().map_or(Ok(()), check_version).map_err(Error::failed)?;
        let servers = self.server.clients(None).await?;
        if let Some(canary) = &self.canary {
            return self.end_canary(&servers, canary).await;
        }
        if let [server] = servers.as_slice() {
            let query = self.to.as_ref().map(|to| format!("?to={}", in_query(to))).unwrap_or_default();
            let path = format!("/v1/plugins/{}/rollback{query}", self.name);
            let answer = send_to(server, Method::POST, &path, Vec::new()).await?;
            self.print(&answer);
            return Ok(());
        }
        let members = fleet::members(servers, &self.name).await?;
        let change = self.change(&members)?;
        let answers = fleet::change_all(&members, &change).await?;
        for (member, answer) in members.iter().zip(&answers) {
            out!("{}:", printable(member.server.name(), MAX_TEXT));
            self.print(answer);
        }
        Ok(())
    }

    /// Ends one canary on each server that has it.
    ///
    /// # Errors
    /// Names the servers that do not have it, or do not answer.
    async fn end_canary(&self, servers: &[Administrated], canary: &str) -> Result<(), Error> {
        let path = format!("/v1/plugins/{}/rollback?canary={}", self.name, in_query(canary));
        let mut failures = Vec::new();
        for server in servers {
            match send_to(server, Method::POST, &path, Vec::new()).await {
                Ok(answer) => {
                    if servers.len() > 1 {
                        out!("{}:", printable(server.name(), MAX_TEXT));
                    }
                    self.print(&answer);
                }
                Err(error) => failures.push(format!("{}: {error}", server.name())),
            }
        }
        match failures.is_empty() {
            true => Ok(()),
            false => Err(Error::Failed(format!("the canary was not ended on every server: {}", failures.join("; ")))),
        }
    }

    /// The same change for all servers.
    ///
    /// # Errors
    /// If it would lead to different versions.
    fn change(&self, members: &[fleet::Member]) -> Result<Change, Error> {
        let name = &self.name;
        let mut found: Vec<(&str, String)> = Vec::new();
        for member in members {
            let digest = member.before.rollback_digest(self.to.as_deref());
            found.push((member.server.name(), digest.unwrap_or("none").to_owned()));
        }
        let digest = found[0].1.clone();
        if digest == "none" || found.iter().any(|(_, other)| *other != digest) {
            let short = |(server, digest): &(&str, String)| format!("{digest:.12} on {server}");
            let found = found.iter().map(short).collect::<Vec<_>>().join(", ");
            return Err(Error::Failed(format!(
                "nothing was changed on any server: they would not return to one version of `{name}`: {found}; name a \
                 version that all of them have with --to"
            )));
        }
        let path = format!("/v1/plugins/{name}/rollback?to={digest}");
        Ok(Change { plugin: name.clone(), method: Method::POST, path, body: Vec::new(), digest })
    }

    /// Prints what a server did.
    fn print(&self, answer: &Value) {
        out!("{} {} ({}) is serving", self.name, word(&answer["version"]), word(&answer["digest"]));
        print_warning(answer);
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
