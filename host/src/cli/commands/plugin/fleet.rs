//! Changes of several servers: all of them change, or none. What was changed before another server failed is taken back, by
//! digest.

use std::pin::pin;

use plimsoll_runtime::text::printable;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::member::UNCHANGED;
pub(super) use super::member::{Change, Member, PluginState};
use super::requests::{MAX_TEXT, send_to};
use super::take_back::take_back;
use crate::base::telemetry::print_line;
use crate::cli::administration::Administrated;
use crate::cli::error::Error;
use crate::cli::signals;

/// Asks all servers what they have. Nothing may be changed if one of them does not answer, or has a canary, which a change
/// would end and nothing can bring back.
///
/// # Errors
/// Names the servers that do not answer, refuse the token or have a canary.
pub(super) async fn members(servers: Vec<Administrated>, plugin: &str) -> Result<Vec<Member>, Error> {
    let (mut members, mut failures) = (Vec::new(), Vec::new());
    for server in servers {
        match PluginState::of(&server, plugin).await {
            Ok(before) => match &before.canary {
                // It is named, because it may be decided meanwhile: then the serving version would be rolled back instead.
                Some(canary) => failures.push(format!(
                    "{} has a canary of `{plugin}`: wait until it is decided, or end it there with `plimsoll plugin \
                     rollback {plugin} --canary {:.12} --server {}`",
                    server.name(),
                    printable(canary, MAX_TEXT),
                    server.name()
                )),
                None => members.push(Member { server, before }),
            },
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
            reply = make(member, change) => reply,
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

/// Makes a change on one server, unless somebody else has changed the plugin there since the server was asked.
async fn make(Member { server, before }: &Member, change: &Change) -> Result<Value, Error> {
    let Change { method, path, body, .. } = change;
    let expected = format!("{path}&expect={}", before.serving.as_deref().unwrap_or("none"));
    match send_to(server, method.clone(), &expected, body.clone()).await {
        // A server of an earlier version does not know the parameter.
        Err(Error::Failed(reason)) if reason.contains("parameter") && reason.contains("`expect`") => {
            send_to(server, method.clone(), path, body.clone()).await
        }
        result => result,
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
