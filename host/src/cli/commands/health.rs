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

#[derive(Debug, Args)]
pub(in crate::cli) struct Health {
    /// The server's address: http://HOST:PORT or unix:PATH.
    #[arg(long, value_name = "URL", env = "PLIMSOLL_SERVER", default_value = "http://127.0.0.1:8080")]
    server: String,
    /// Ask only whether the server is running. A server that is about to stop is live, but not ready.
    #[arg(long)]
    live: bool,
}

impl Health {
    pub(in crate::cli) async fn run(self) -> Result<ExitCode, Error> {
        let client = Client::new(&self.server, Some(TIME_OUT))?;
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
                format!("{} is not {word}{reason}", self.server)
            }
            false => format!("{} replied with {}; check --server", client.shown(path), reply.status),
        }))
    }
}
