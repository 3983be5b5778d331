//! SIGHUP, which asks the server to read its configuration again. A signal stays asked for until somebody waits: also one
//! that comes before the watcher of the configuration runs, or while that is restarted.

use tokio::sync::Notify;

static ASKED: Notify = Notify::const_new();

/// Says that a SIGHUP came.
pub fn ask() {
    ASKED.notify_one();
}

/// Waits until a SIGHUP came since the last call returned. Several that came meanwhile count as one.
pub async fn asked() {
    ASKED.notified().await;
}
