//! A bounded queue of log lines. One thread writes them, so the code that logs never waits for the reader of the log, and
//! never sees its errors.
//!
//! `tracing-appender` has such a queue, but it is bounded by lines and not by bytes, does not count the lines that could
//! not be written, and may print to stdout at exit, which panics if stdout is closed.

use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Maximum bytes of lines that are not written yet: about 3,000 lines of requests.
const LIMIT: usize = 1 << 20;
/// The part of it that only the audit log uses: about 300 lines.
const AUDIT: usize = 64 << 10;
/// Bytes of the buffers that are kept while there is little to write.
const KEPT: usize = 64 << 10;
/// A write to a pipe of at most this many bytes is not mixed with the writes of other processes (pipe(7), `PIPE_BUF`).
const ATOMIC: usize = 4096;
/// Pause of the writer after each batch. Under load it makes larger batches, and the threads that log wake it less often.
const PAUSE: Duration = Duration::from_millis(2);
/// Pause before the next try if stderr does not block and is full.
const RETRY: Duration = Duration::from_millis(10);

/// Where a line comes from. Callers decide how many lines there are of requests, and how many a plugin prints. So these cannot
/// push out the lines of the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// A plugin printed it.
    Guest,
    /// The audit log.
    Audit,
    /// Another part of the host.
    Host,
}

impl Source {
    /// Maximum bytes of lines that wait with this one.
    fn limit(self) -> usize {
        match self {
            Self::Guest => LIMIT / 2,
            Self::Host => LIMIT - AUDIT,
            Self::Audit => LIMIT,
        }
    }
}

/// A bounded queue of lines.
#[derive(Debug)]
pub(super) struct LineQueue {
    state: Mutex<State>,
    filled: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct State {
    /// The lines that wait, each with its line feed.
    waiting: Vec<u8>,
    /// Bytes that the writer has taken and not yet written.
    taken: usize,
    /// All bytes that were written or given up. It grows while the reader reads.
    done: u64,
    /// Lines that were dropped since the last report.
    unreported: u64,
    /// True while the writer waits for lines.
    is_idle: bool,
}

impl LineQueue {
    pub(super) const fn new() -> Self {
        let state = State { waiting: Vec::new(), taken: 0, done: 0, unreported: 0, is_idle: false };
        Self { state: Mutex::new(state), filled: Condvar::new(), dropped: AtomicU64::new(0) }
    }

    /// Adds a line with its line feed. If there is no room for lines of its source, the line is dropped and counted.
    pub(super) fn push(&self, line: &[u8], source: Source) {
        let mut state = self.lock();
        if state.waiting.len() + state.taken + line.len() > source.limit() {
            self.count_dropped(&mut state, lines(line));
            return;
        }
        state.waiting.extend_from_slice(line);
        let wakes = std::mem::take(&mut state.is_idle);
        drop(state);
        if wakes {
            self.filled.notify_one();
        }
    }

    /// The number of lines that were dropped because there was no room, or because they could not be written.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Writes the lines to `out` until the process ends. When lines can be written after some were dropped, calls `report`
    /// with the number of lines that were dropped.
    pub(super) fn write_to(&self, out: impl Write, report: impl Fn(u64)) -> Infallible {
        let mut output = Output { out, is_cut: false };
        let mut batch = Vec::new();
        loop {
            self.take(&mut batch);
            let mut rest = batch.as_slice();
            let mut is_lost = false;
            while !rest.is_empty() {
                let (piece, next) = rest.split_at(piece(rest));
                let lost = output.write(piece);
                let mut state = self.lock();
                state.taken -= piece.len();
                state.done += piece.len() as u64;
                if lost > 0 {
                    is_lost = true;
                    self.count_dropped(&mut state, lost);
                }
                rest = next;
            }
            // Reports nothing after a failure, because the report could not be written either.
            let dropped = if is_lost { 0 } else { std::mem::take(&mut self.lock().unreported) };
            if dropped > 0 {
                report(dropped);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until all lines are written, while the reader reads: at most `patience` without progress, and at most
    /// `limit` in total. Returns true if all lines are written.
    pub(super) fn flush(&self, patience: Duration, limit: Duration) -> bool {
        let started = Instant::now();
        let mut last = (0, started);
        loop {
            let done = {
                let state = self.lock();
                if state.waiting.is_empty() && state.taken == 0 {
                    return true;
                }
                state.done
            };
            if done != last.0 {
                last = (done, Instant::now());
            }
            if last.1.elapsed() >= patience || started.elapsed() >= limit {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for lines and moves them to `batch`.
    fn take(&self, batch: &mut Vec<u8>) {
        batch.clear();
        batch.shrink_to(KEPT);
        let mut state = self.lock();
        while state.waiting.is_empty() {
            state.is_idle = true;
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.is_idle = false;
        std::mem::swap(&mut state.waiting, batch);
        state.taken = batch.len();
    }

    fn count_dropped(&self, state: &mut State, lines: u64) {
        state.unreported += lines;
        self.dropped.fetch_add(lines, Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The length of the first lines that fit into an atomic write; at least one line.
fn piece(bytes: &[u8]) -> usize {
    let is_end = |byte: &u8| *byte == b'\n';
    if bytes.len() <= ATOMIC {
        return bytes.len();
    }
    let last = bytes[..ATOMIC].iter().rposition(is_end).or_else(|| bytes.iter().position(is_end));
    last.map_or(bytes.len(), |at| at + 1)
}

fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count().max(1) as u64
}

/// The destination of the lines.
struct Output<W> {
    out: W,
    /// True if the last line was cut off.
    is_cut: bool,
}

impl<W: Write> Output<W> {
    /// Writes lines. Returns the number of those that could not be written.
    fn write(&mut self, bytes: &[u8]) -> u64 {
        if self.is_cut && !self.write_all(b"\n").is_empty() {
            return lines(bytes);
        }
        match self.write_all(bytes) {
            [] => 0,
            rest => lines(rest),
        }
    }

    /// Returns the bytes that could not be written.
    fn write_all<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while !bytes.is_empty() {
            match self.out.write(bytes) {
                Ok(0) => break,
                Ok(written) => {
                    self.is_cut = bytes[..written].last() != Some(&b'\n');
                    bytes = &bytes[written..];
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    // Another process has made the shared pipe or terminal non-blocking.
                    io::ErrorKind::WouldBlock => std::thread::sleep(RETRY),
                    _ => break,
                },
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests;
