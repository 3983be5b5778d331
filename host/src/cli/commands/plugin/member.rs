//! A server of several that are changed, and what it has of a plugin.

use reqwest::{Method, StatusCode};

use super::requests::json_of;
use crate::cli::administration::Administrated;
use crate::cli::error::Error;

/// The state in a reply if the same version serves already.
pub(super) const UNCHANGED: &str = "unchanged";

/// What a server has of a plugin.
#[derive(Debug, Default)]
pub(super) struct PluginState {
    /// The digest of the version that serves.
    pub(super) serving: Option<String>,
    /// The label of this version.
    version: String,
    /// The digest of the version on canary.
    pub(super) canary: Option<String>,
    /// The digest of the version that is being admitted.
    pub(super) compiling: Option<String>,
    /// Versions and digests to which it can be rolled back, the latest first.
    pub(super) previous: Vec<(String, String)>,
}

/// A server, and what it had before the change.
pub(super) struct Member {
    pub(super) server: Administrated,
    pub(super) before: PluginState,
}

/// A change of one plugin.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) plugin: String,
    pub(super) method: Method,
    /// The path with its query.
    pub(super) path: String,
    pub(super) body: Vec<u8>,
    /// The digest that serves after the change, or is on canary.
    pub(super) digest: String,
}

impl PluginState {
    /// Asks a server.
    ///
    /// # Errors
    /// If it does not answer, or refuses the token.
    pub(super) async fn of(server: &Administrated, plugin: &str) -> Result<Self, Error> {
        let path = format!("/v1/plugins/{plugin}");
        let reply = server.send(Method::GET, &path, Vec::new()).await?;
        if reply.status == StatusCode::NOT_FOUND {
            return Ok(Self::default());
        }
        let view = json_of(server, &path, &reply)?;
        let text = |key: &str| view[key].as_str().map(str::to_owned);
        let version = text("version").unwrap_or_default();
        let mut state = Self { serving: text("digest"), version, ..Self::default() };
        for version in view["versions"].as_array().into_iter().flatten() {
            let text = |key: &str| version[key].as_str().unwrap_or_default().to_owned();
            match version["state"].as_str() {
                Some("compiling") => state.compiling = Some(text("digest")),
                Some("canary") => state.canary = Some(text("digest")),
                Some("previous") => state.previous.push((text("version"), text("digest"))),
                _ => {}
            }
        }
        Ok(state)
    }

    /// Returns true if a version serves or is on canary.
    pub(super) fn has(&self, digest: &str) -> bool {
        [&self.serving, &self.canary].into_iter().flatten().any(|known| known == digest)
    }

    /// The label of the serving version, if a rollback leads to it.
    pub(super) fn rolled_back(&self, change: &Change) -> Option<&str> {
        let is_there = change.method == Method::POST && self.serving.as_ref() == Some(&change.digest);
        is_there.then_some(self.version.as_str())
    }

    /// The digest to which a rollback leads: the latest previous version, or the one that `to` names. A server that serves
    /// that one already has it too.
    pub(super) fn rollback_digest(&self, to: Option<&str>) -> Option<&str> {
        let is_named = |digest: &str| to.is_some_and(|to| to.len() >= 6 && digest.starts_with(to));
        if let Some(serving) = self.serving.as_deref().filter(|digest| is_named(digest)) {
            return Some(serving);
        }
        let wanted = |(version, digest): &&(String, String)| to.is_none_or(|to| version == to) || is_named(digest);
        self.previous.iter().find(wanted).map(|(_, digest)| digest.as_str())
    }
}
