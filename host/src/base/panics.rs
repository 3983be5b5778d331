//! Panics of the process: each one is counted and logged like any other event.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::telemetry;

/// How long a panic waits until its line is written, because the process may end right after it.
const PATIENCE: Duration = Duration::from_millis(100);

static PANICS: AtomicU64 = AtomicU64::new(0);

/// Counts and logs every panic from now on, also those that are caught. Without this call, a panic writes to stderr, so it
/// waits if nothing reads stderr.
pub fn log_panics() {
    std::panic::set_hook(Box::new(log));
}

/// The number of panics since [`log_panics`].
pub fn panics() -> u64 {
    PANICS.load(Relaxed)
}

fn log(panic: &PanicHookInfo<'_>) {
    let before = PANICS.fetch_add(1, Relaxed);
    let thread = std::thread::current();
    let message = panic.payload_as_str().unwrap_or("(a value that is not text)");
    let at = panic.location().map(ToString::to_string);
    // Only if RUST_BACKTRACE asks for it.
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(
        target: "plimsoll::panic",
        thread = thread.name(),
        at,
        backtrace,
        "the host panicked: {message}"
    );
    // Not for each of many panics, because a thread that serves requests waits here.
    if before < 10 {
        telemetry::flush(PATIENCE);
    }
}
