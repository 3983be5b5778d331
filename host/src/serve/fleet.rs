//! Asks the other servers of a fleet for their canaries (`[fleet] peers`). Requests never wait for that.

use std::sync::Weak;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::app::App;

/// How often the servers are asked while a canary runs.
const INTERVAL: Duration = Duration::from_secs(1);
/// The same without a canary, so that a server that does not answer is seen before there is one.
const IDLE_INTERVAL: Duration = Duration::from_secs(15);

/// Asks the other servers until the server ends.
pub(super) async fn follow(app: Weak<App>) {
    let mut asked: Option<Instant> = None;
    loop {
        let Some(app) = app.upgrade() else { return };
        let is_due = app.serving().has_fleet_canary() || asked.is_none_or(|at| at.elapsed() >= IDLE_INTERVAL);
        if is_due {
            ask_all(&app).await;
            asked = Some(Instant::now());
        }
        drop(app);
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Asks all other servers at the same time, and takes over their replies.
async fn ask_all(app: &App) {
    let (Some(client), Some(fleet)) = (&app.fleet, &app.serving().fleet) else { return };
    join_all(client.peers.iter().map(|peer| async move {
        let reply = client.ask(peer).await;
        app.records.metrics.set_peer(peer, reply.is_ok());
        let reason = reply.as_ref().err().cloned().unwrap_or_default();
        match fleet.answered(peer, reply) {
            Some(true) => tracing::info!(peer, "the server answers again: canaries are decided with it"),
            Some(false) => {
                tracing::warn!(peer, "the server is left out, and canaries are decided without it: {reason}")
            }
            None => {}
        }
    }))
    .await;
    app.serving().adopt_peers();
}
