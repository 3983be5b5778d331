//! `plimsoll health`: is a server ready? For containers without a shell and without `curl`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use reqwest::Method;

use crate::cli::client::Client;
use crate::cli::error::Error;
use crate::cli::output::out;

/// Time-out of the request. It is shorter than the usual time-out of a container's check, so that the message is seen.
const TIME_OUT: Duration = Duration::from_secs(5);

/// The server if none is named.
const DEFAULT: &str = "http://127.0.0.1:8080";

#[derive(Debug, Args)]
pub(in crate::cli) struct Health {
    /// The server's address: http://HOST:PORT or unix:PATH.
    #[arg(long, value_name = "URL", env = "PLIMSOLL_SERVER", default_value = DEFAULT)]
    server: String,
    /// Ask only whether the server is running. A server that is about to stop is live, but not ready.
    #[arg(long)]
    live: bool,
}

impl Health {
    pub(in crate::cli) async fn run(self) -> Result<ExitCode, Error> {
        if self.server.contains(',') {
            let several = &self.server;
            return Err(Error::Failed(format!(
                "`{several}` names several servers, and this command asks one (--server)"
            )));
        }
        // An empty variable is no address.
        let server = if self.server.trim().is_empty() { DEFAULT } else { &self.server };
        let client = Client::new(server, Some(TIME_OUT))?;
        let (path, word) = if self.live { ("/v2/health/live", "live") } else { ("/v2/health/ready", "ready") };
        let reply = client.send(client.request(Method::GET, path), path).await?;
        // Another program on this port may reply 200 to anything.
        let answer: serde_json::Value = serde_json::from_str(&reply.text).unwrap_or_default();
        let says = |value| answer[word] == value;
        if reply.status.is_success() && says(true) {
            out!("{word}");
            return Ok(ExitCode::SUCCESS);
        }
        Err(Error::Failed(match says(false) {
            true => {
                let reason = answer["reason"].as_str().map(|reason| format!(": {reason}")).unwrap_or_default();
                format!("{} is not {word}{reason}", client.server())
            }
            false => format!("{} replied with {}; check --server", client.shown(path), reply.status),
        }))
    }
}
