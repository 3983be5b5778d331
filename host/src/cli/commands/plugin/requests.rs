//! Requests to the administration routes, and their replies as JSON.

use reqwest::Method;
use serde_json::Value;

use crate::cli::administration::Administrated;
use crate::cli::client::Reply;
use crate::cli::error::Error;

/// Maximum bytes of a text of the server that are printed.
pub(super) const MAX_TEXT: usize = 4_096;

/// Sends a request and returns the JSON of the reply.
pub(super) async fn send_to(server: &Administrated, method: Method, path: &str, body: Vec<u8>) -> Result<Value, Error> {
    let reply = server.send(method, path, body).await?;
    json_of(server, path, &reply)
}

/// The JSON of a reply.
///
/// # Errors
/// The message of the server, if it refused the request. [`Error::NoReply`] if a proxy replied that it has no reply of the
/// server, which may have got the request.
pub(super) fn json_of(server: &Administrated, path: &str, Reply { status, text }: &Reply) -> Result<Value, Error> {
    let answer: Result<Value, _> = serde_json::from_str(text);
    // An error of the server itself has a code.
    if status.is_server_error() && !answer.as_ref().is_ok_and(|answer| answer["code"].is_string()) {
        let message = format!("{} replied with {status}, which is not a reply of plimsoll", server.shown(path));
        return Err(Error::NoReply(format!("{message}: perhaps a proxy did not wait for it")));
    }
    let answer = answer.map_err(|_| {
        Error::Failed(format!("{} replied with {status} and without JSON; check --server", server.shown(path)))
    })?;
    if !status.is_success() {
        return Err(Error::Failed(answer["detail"].as_str().unwrap_or(text).to_owned()));
    }
    Ok(answer)
}
