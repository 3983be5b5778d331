//! The log: human-readable or JSON lines on stderr, filtered by `RUST_LOG` (default `info`).
//!
//! A separate thread writes the lines. If stderr is closed, its reader is slow, or the disk is full, only log lines are
//! lost. Everything that the process writes to stderr goes through this thread.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::thread::JoinHandle;
use std::time::Duration;

use clap::ValueEnum;
use tracing::Metadata;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::line_queue::{LineQueue, Source};
use super::log_fields::SafeFields;
use super::status_line::StatusLine;

/// How long the process waits at exit for a reader that does not read.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the process waits at exit for a reader that reads, but slowly.
const EXIT_LIMIT: Duration = Duration::from_secs(5);

/// The targets of the lines that plugins print, and of the audit log.
const GUESTS: &str = "plimsoll::guest";
const AUDIT: &str = "plimsoll::audit";
/// How long a command waits for the terminal before it prints its result.
const SHORT: Duration = Duration::from_millis(200);

static LINES: LineQueue = LineQueue::new();
static STATUS: StatusLine = StatusLine::new();
static WRITER: OnceLock<JoinHandle<()>> = OnceLock::new();

/// The format of log lines.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum LogFormat {
    /// Human-readable lines.
    #[default]
    Human,
    /// One JSON object per line.
    Json,
}

/// Starts the log. A second call in the same process has no effect.
///
/// # Errors
/// If the thread that writes the lines cannot be started.
pub fn start(format: LogFormat) -> io::Result<()> {
    if WRITER.get().is_some() {
        return Ok(());
    }
    let (filter, refused) = filter();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Lines)
        // Errors would go to stderr with `eprintln!`, which waits for a reader and panics without one.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal());
    let started = match format {
        LogFormat::Human => builder.fmt_fields(SafeFields).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if started.is_err() {
        // Another thread was faster, or the process has its own log.
        return Ok(());
    }
    let _ = WRITER.set(std::thread::Builder::new().name("log".into()).spawn(write_lines)?);
    if let Some(refused) = refused {
        tracing::warn!("{refused}");
    }
    Ok(())
}

/// Prints a line to stderr, after the log lines so far.
pub fn print_line(line: &str) {
    STATUS.above(format!("{line}\n").as_bytes(), |lines| LINES.push(lines, Source::Host));
}

/// Returns true if stderr is a terminal, on which [`show_status`] has an effect.
pub fn has_status() -> bool {
    io::stderr().is_terminal() && WRITER.get().is_some()
}

/// Says on a terminal how far long work is, in a line that the next status replaces. Elsewhere it does nothing.
pub fn show_status(text: &str) {
    if has_status() {
        STATUS.replace(text, |lines| LINES.push(lines, Source::Host));
    }
}

/// Removes the status. Call this before something is printed to stdout, which may be the same terminal.
pub fn clear_status() {
    if has_status() {
        STATUS.replace("", |lines| LINES.push(lines, Source::Host));
        LINES.flush(SHORT, SHORT);
    }
}

/// Waits until the lines are written, if stderr can take them. Call this before the process exits.
pub fn finish() {
    LINES.flush(PATIENCE, EXIT_LIMIT);
}

/// Waits for at most `limit` until the lines are written.
pub(super) fn flush(limit: Duration) {
    LINES.flush(limit, limit);
}

/// The number of log lines that were lost because nothing read stderr, or because it could not be written.
pub fn dropped_lines() -> u64 {
    LINES.dropped()
}

/// Returns true while lines are written, or if the log was not started.
pub fn is_running() -> bool {
    WRITER.get().is_none_or(|writer| !writer.is_finished())
}

/// The filter of `RUST_LOG`, and what is wrong with it.
fn filter() -> (EnvFilter, Option<String>) {
    let default = || EnvFilter::new("info");
    match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(wanted) if !wanted.trim().is_empty() => match EnvFilter::try_new(&wanted) {
            Ok(filter) => (filter, None),
            Err(error) => {
                let wanted = wanted.escape_debug();
                let refused = format!("RUST_LOG is not valid, so `info` applies instead of `{wanted}`: {error}");
                (default(), Some(refused))
            }
        },
        _ => (default(), None),
    }
}

/// Writes the lines until the process ends.
fn write_lines() {
    loop {
        // A separate handle, because the standard library locks its own while it writes, and a thread that panics
        // meanwhile would wait for the lock.
        let stderr: Box<dyn Write> = match io::stderr().as_fd().try_clone_to_owned() {
            Ok(stderr) => Box::new(File::from(stderr)),
            Err(_) => Box::new(io::stderr()),
        };
        let report = |lines| {
            tracing::warn!(
                target: "plimsoll::log",
                lines,
                "log lines were lost: stderr was not read fast enough, or could not be written"
            );
        };
        // A panic is counted and logged by its hook.
        let _ = catch_unwind(AssertUnwindSafe(|| LINES.write_to(stderr, report)));
    }
}

/// The lines of the log.
struct Lines;

impl MakeWriter<'_> for Lines {
    type Writer = QueueWriter;

    fn make_writer(&self) -> QueueWriter {
        QueueWriter(Source::Host)
    }

    fn make_writer_for(&self, event: &Metadata<'_>) -> QueueWriter {
        QueueWriter(match event.target() {
            GUESTS => Source::Guest,
            AUDIT => Source::Audit,
            _ => Source::Host,
        })
    }
}

/// Passes a line to the queue. `tracing-subscriber` writes each line with one call.
struct QueueWriter(Source);

impl Write for QueueWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        STATUS.above(line, |lines| LINES.push(lines, self.0));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
