//! Changes of several servers: all of them change, or none. What was changed before another server failed is taken back, by
//! digest.

use std::pin::pin;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::requests::{json_of, send_to};
use crate::base::telemetry::print_line;
use crate::cli::administration::Administrated;
use crate::cli::error::Error;
use crate::cli::signals;

/// How long a server that did not answer is asked whether it changed.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a server whose reply was not waited for is asked whether it changes after all.
const AFTERWARDS: Duration = Duration::from_secs(5);
/// The pause between two such questions.
const PAUSE: Duration = Duration::from_millis(500);

/// The state in a reply if the same version serves already.
const UNCHANGED: &str = "unchanged";

/// What a server has of a plugin.
#[derive(Debug, Default)]
pub(super) struct PluginState {
    /// The digest of the version that serves.
    pub(super) serving: Option<String>,
    /// The label of this version.
    version: String,
    /// The digest of the version on canary.
    pub(super) canary: Option<String>,
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
                Some("canary") => state.canary = Some(text("digest")),
                Some("previous") => state.previous.push((text("version"), text("digest"))),
                _ => {}
            }
        }
        Ok(state)
    }

    /// Returns true if a version serves or is on canary.
    fn has(&self, digest: &str) -> bool {
        [&self.serving, &self.canary].into_iter().flatten().any(|known| known == digest)
    }

    /// The label of the serving version, if a rollback leads to it.
    fn rolled_back(&self, change: &Change) -> Option<&str> {
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

/// Asks all servers what they have. Nothing may be changed if one of them does not answer, or has a canary, which a change
/// would end and nothing can bring back.
///
/// # Errors
/// Names the servers that do not answer, refuse the token or have a canary.
pub(super) async fn members(servers: Vec<Administrated>, plugin: &str) -> Result<Vec<Member>, Error> {
    let (mut members, mut failures) = (Vec::new(), Vec::new());
    for server in servers {
        match PluginState::of(&server, plugin).await {
            Ok(before) if before.canary.is_some() => failures.push(format!(
                "{} has a canary of `{plugin}`: wait until it is decided, or end it there with `plimsoll plugin rollback \
                 {plugin} --server {}`",
                server.name(),
                server.name()
            )),
            Ok(before) => members.push(Member { server, before }),
            Err(error) => failures.push(format!("{}: {error}", server.name())),
        }
    }
    match failures.is_empty() {
        true => Ok(members),
        false => Err(Error::Failed(format!("nothing was changed on any server: {}", failures.join("; ")))),
    }
}

/// Makes a change on all servers, one after the other. Returns their replies.
///
/// # Errors
/// If one of them fails, or the command is interrupted. Then the change was taken back on the others, or the message names
/// those where that failed. Also if a server does not have the version after all.
pub(super) async fn change_all(members: &[Member], change: &Change) -> Result<Vec<Value>, Error> {
    let mut interrupted = pin!(interruption());
    let mut replies = Vec::new();
    for (at, member) in members.iter().enumerate() {
        if let Some(version) = member.before.rolled_back(change) {
            replies.push(json!({ "state": UNCHANGED, "version": version, "digest": change.digest }));
            continue;
        }
        let reply = tokio::select! {
            reply = send_to(&member.server, change.method.clone(), &change.path, change.body.clone()) => reply,
            () = &mut interrupted => Err(Error::NoReply("interrupted before it answered".to_owned())),
        };
        match reply {
            Ok(reply) => replies.push(reply),
            Err(error) => return Err(take_back(&members[..=at], &replies, change, &error).await),
        }
    }
    // Nothing is left to be taken back.
    signals::end_process();
    let mut others = Vec::new();
    for Member { server, .. } in members {
        match PluginState::of(server, &change.plugin).await {
            Ok(now) if now.has(&change.digest) => {}
            Ok(now) => {
                others.push(format!("{} serves {:.12}", server.name(), now.serving.as_deref().unwrap_or("none")))
            }
            Err(error) => others.push(format!("{}: {error}", server.name())),
        }
    }
    match others.is_empty() {
        true => Ok(replies),
        false => Err(Error::Failed(format!(
            "every server has accepted {:.12}, but not all of them have it now: {}; perhaps somebody else has changed `{}` \
             at the same time: `plimsoll plugin list` with all servers shows the versions",
            change.digest,
            others.join("; "),
            change.plugin
        ))),
    }
}

/// Waits for SIGINT or SIGTERM. From then on, the next one ends the command at once.
async fn interruption() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    signals::keep_process();
    let number = tokio::select! {
        _ = interrupt.recv() => 2,
        _ = terminate.recv() => 15,
    };
    print_line("plimsoll: interrupted: what has changed is taken back; interrupt again to leave it as it is");
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(128 + number);
    });
}

/// Takes a change back after the last of these members failed.
async fn take_back(members: &[Member], replies: &[Value], change: &Change, failure: &Error) -> Error {
    let mut remaining = Vec::new();
    for (member, reply) in members.iter().zip(replies.iter().map(Some).chain([None])) {
        let is_failed = reply.is_none();
        // Nothing was changed there: the same version serves already, or the server did not get the request.
        let is_unreached = is_failed && matches!(failure, Error::Unreachable(_));
        if is_unreached || reply.is_some_and(|reply| reply["state"] == UNCHANGED) {
            continue;
        }
        let name = member.server.name();
        let may_follow = is_failed && matches!(failure, Error::NoReply(_));
        match restore(member, change, is_failed, may_follow).await {
            Ok(false) if may_follow => remaining.push(format!(
                "{name} (it has not changed yet, but has not refused the change either, and may still make it)"
            )),
            Ok(_) => {}
            Err(error) => remaining.push(format!("{name} ({error})")),
        }
    }
    let failed = members.last().map(|member| member.server.name()).unwrap_or_default();
    let plugin = &change.plugin;
    Error::Failed(match remaining.is_empty() {
        true => format!("{failed}: {failure}; no server was changed: what had changed before was taken back"),
        false => format!(
            "{failed}: {failure}; the change could not be taken back on {}. `plimsoll plugin list` with all servers shows \
             the versions of `{plugin}`; `plimsoll plugin rollback {plugin} --to DIGEST` with one server corrects it",
            remaining.join(", ")
        ),
    })
}

/// Brings a server back to what it had. A server that failed may have changed nothing, or may not answer any more. Returns
/// true if there was something to take back.
async fn restore(member: &Member, change: &Change, is_failed: bool, may_follow: bool) -> Result<bool, String> {
    let Member { server, before } = member;
    let plugin = &change.plugin;
    let start = Instant::now();
    let (end, afterwards) = (start + PATIENCE, start + AFTERWARDS);
    let now = loop {
        match PluginState::of(server, plugin).await {
            Ok(now) if may_follow && !now.has(&change.digest) && Instant::now() < afterwards => {
                tokio::time::sleep(PAUSE).await;
            }
            Ok(now) => break now,
            Err(_) if is_failed && Instant::now() < end => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(format!("it may have changed, and does not answer: {error}")),
        }
    };
    if now.serving == before.serving && now.canary == before.canary {
        return Ok(false);
    }
    if !now.has(&change.digest) {
        let serving = now.serving.as_deref().unwrap_or("none");
        return Err(format!(
            "somebody else has changed it meanwhile, so it was left as it is: it serves {serving:.12}"
        ));
    }
    if now.canary.as_ref() == Some(&change.digest) {
        // Without a version, a rollback ends the canary.
        post(server, &format!("/v1/plugins/{plugin}/rollback")).await?;
    } else {
        match &before.serving {
            Some(digest) => roll_back(server, change, digest).await?,
            None => {
                let retired = send_to(server, Method::DELETE, &format!("/v1/plugins/{plugin}"), Vec::new()).await;
                retired.map(drop).map_err(|error| error.to_string())?;
            }
        }
    }
    let after = PluginState::of(server, plugin).await.map_err(|error| error.to_string())?;
    match after.serving == before.serving {
        true => Ok(true),
        false => Err(format!("another version serves: {}", after.serving.as_deref().unwrap_or("none"))),
    }
}

/// Returns to the version before. What a deployment brought is forgotten, so that the server has what it had.
async fn roll_back(server: &Administrated, change: &Change, to: &str) -> Result<(), String> {
    let path = format!("/v1/plugins/{}/rollback?to={to}", change.plugin);
    if change.method == Method::PUT {
        match post(server, &format!("{path}&undo={}", change.digest)).await {
            // A server of an earlier version does not know the parameter.
            Err(error) if error.contains("undo") => {}
            result => return result,
        }
    }
    post(server, &path).await
}

async fn post(server: &Administrated, path: &str) -> Result<(), String> {
    send_to(server, Method::POST, path, Vec::new()).await.map(drop).map_err(|error| error.to_string())
}
