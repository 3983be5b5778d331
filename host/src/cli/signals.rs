//! The signals that stop the server. The process records them from its first moment. Otherwise a SIGTERM in the first
//! milliseconds could be lost (the first process of a container ignores signals without a handler), and a SIGHUP could
//! end the server.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::base::hangup;
use crate::serve::Stop;

/// The number of signals that can wait. Each one ends a step of the stop, and there are three of them.
const MAX_WAITING: usize = 4;

/// The signals that came so far.
#[derive(Default)]
struct Early {
    hangup: Arc<AtomicBool>,
    interrupt: Arc<AtomicBool>,
    terminate: Arc<AtomicBool>,
    /// True if a signal ends the process, because the command is not a server.
    ends: Arc<AtomicBool>,
}

static EARLY: OnceLock<Early> = OnceLock::new();

impl Early {
    fn signals(&self) -> [(i32, &Arc<AtomicBool>); 3] {
        [(SIGHUP, &self.hangup), (SIGINT, &self.interrupt), (SIGTERM, &self.terminate)]
    }
}

/// Records signals from now on. Call this before everything else.
///
/// # Errors
/// If the system refuses a handler.
pub(super) fn note() -> io::Result<()> {
    let early = EARLY.get_or_init(Early::default);
    for (signal, seen) in early.signals() {
        flag::register(signal, Arc::clone(seen))?;
        flag::register_conditional_default(signal, Arc::clone(&early.ends))?;
    }
    // Without a handler, a write beyond the limit of file sizes (`ulimit -f`) ends the process. With one it is an error.
    flag::register(libc::SIGXFSZ, Arc::default()).map(drop)
}

/// From now on the command handles signals itself.
pub(in crate::cli) fn keep_process() {
    if let Some(early) = EARLY.get() {
        early.ends.store(false, SeqCst);
    }
}

/// From now on signals end the process; a signal that was recorded before ends it at once. Call this for a command that
/// is not a server.
pub(in crate::cli) fn end_process() {
    let Some(early) = EARLY.get() else { return };
    early.ends.store(true, SeqCst);
    for (signal, seen) in early.signals() {
        if seen.load(SeqCst) {
            let _ = low_level::emulate_default_handler(signal);
        }
    }
}

/// Handles SIGTERM and SIGINT from now on, and those that were recorded before. A SIGHUP from now on waits
/// in [`hangup`] for the watcher of the configuration: one that comes during the start is answered after it.
///
/// # Errors
/// If the system refuses a handler.
pub(super) fn watch() -> io::Result<mpsc::Receiver<Stop>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    if let Some(early) = EARLY.get() {
        for (seen, stop) in [(&early.interrupt, Stop::Now), (&early.terminate, Stop::Drain)] {
            if seen.load(SeqCst) {
                let _ = sender.try_send(stop);
            }
        }
    }
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            hangup::ask();
        }
    });
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
