//! The signals that stop the server.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::serve::Stop;

/// The number of signals that can wait. Each one ends a step of the stop, and there are three of them.
const WAITING: usize = 4;

/// Handles SIGTERM and SIGINT from now on. SIGHUP is handled too, so that one in the start does not end the process; the
/// watcher of the configuration handles it later.
///
/// # Errors
/// If the system refuses a handler.
pub(super) fn watch() -> io::Result<mpsc::Receiver<Stop>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // The handler stays for the life of the process.
    drop(signal(SignalKind::hangup())?);
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        loop {
            let stop = tokio::select! {
                // Someone at the terminal does not want to wait, and has no load balancer.
                _ = interrupt.recv() => Stop::Now,
                _ = terminate.recv() => Stop::Drain,
            };
            // If the queue is full, the signals in it already end everything.
            let _ = sender.try_send(stop);
        }
    });
    Ok(receiver)
}
