//! Takes a change of several servers back after one of them failed.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;

use super::member::{Change, Member, PluginState, UNCHANGED};
use super::requests::send_to;
use crate::cli::administration::Administrated;
use crate::cli::error::Error;

/// How long a server that did not answer is asked whether it changed.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a server whose reply was not waited for is asked whether it changes after all.
const AFTERWARDS: Duration = Duration::from_secs(5);
/// How long a server that compiles the version is asked: as long as it may take to reply.
const COMPILING: Duration = Duration::from_secs(600);
/// The pause between two such questions.
const PAUSE: Duration = Duration::from_millis(500);

/// Takes a change back after the last of these members failed.
pub(super) async fn take_back(members: &[Member], replies: &[Value], change: &Change, failure: &Error) -> Error {
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
    let (end, compiled) = (start + PATIENCE, start + COMPILING);
    let mut afterwards = start + AFTERWARDS;
    let now = loop {
        match PluginState::of(server, plugin).await {
            Ok(now) if may_follow && !now.has(&change.digest) => {
                if now.compiling.as_ref() == Some(&change.digest) {
                    afterwards = compiled.min(Instant::now() + AFTERWARDS);
                }
                if Instant::now() >= afterwards {
                    break now;
                }
                tokio::time::sleep(PAUSE).await;
            }
            Ok(now) => break now,
            Err(_) if is_failed && Instant::now() < end => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(format!("it may have changed, and does not answer: {error}")),
        }
    };
    // A server that has refused the change has nothing of it, whatever somebody else has deployed there.
    let has_refused = is_failed && !may_follow && !now.has(&change.digest);
    if has_refused || now.serving == before.serving && now.canary == before.canary {
        return Ok(false);
    }
    if !now.has(&change.digest) {
        let serving = now.serving.as_deref().unwrap_or("none");
        return Err(format!(
            "somebody else has changed it meanwhile, so it was left as it is: it serves {serving:.12}"
        ));
    }
    let is_canary = now.canary.as_ref() == Some(&change.digest);
    if !(is_canary && end_canary(server, change).await?) {
        match &before.serving {
            Some(digest) => roll_back(server, change, digest).await?,
            None => {
                let path = format!("/v1/plugins/{plugin}?expect={}", change.digest);
                let retired = send_to(server, Method::DELETE, &path, Vec::new()).await;
                retired.map(drop).map_err(|error| error.to_string())?;
            }
        }
    }
    let after = PluginState::of(server, plugin).await.map_err(|error| error.to_string())?;
    // If it serves neither what it had nor the version of this change, somebody else has changed it since.
    match after.serving == before.serving || !after.has(&change.digest) {
        true => Ok(true),
        false => Err(format!("the version still serves: {}", after.serving.as_deref().unwrap_or("none"))),
    }
}

/// Ends the canary of this version and nothing else, and forgets the version. Returns false if it was promoted meanwhile.
async fn end_canary(server: &Administrated, change: &Change) -> Result<bool, String> {
    let path = format!("/v1/plugins/{}/rollback?canary={}", change.plugin, change.digest);
    let ended = match post(server, &format!("{path}&undo={}", change.digest)).await {
        // A server of an earlier version does not know both together.
        Err(error) if error.contains("excludes") => post(server, &path).await,
        result => result,
    };
    let Err(error) = ended else { return Ok(true) };
    let now = PluginState::of(server, &change.plugin).await.map_err(|error| error.to_string())?;
    match (now.canary.is_none(), now.serving.as_ref() == Some(&change.digest)) {
        (true, true) => Ok(false),
        // It was rolled back meanwhile, by its figures.
        (true, false) => Ok(true),
        (false, _) => Err(error),
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
