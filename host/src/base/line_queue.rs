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
/// Bytes of the buffers that are kept while there is little to write.
const KEPT: usize = 64 << 10;
/// A write to a pipe of at most this many bytes is not mixed with the writes of other processes (pipe(7), `PIPE_BUF`).
const ATOMIC: usize = 4096;
/// Pause of the writer after each batch. Under load it makes larger batches, and the threads that log wake it less often.
const PAUSE: Duration = Duration::from_millis(2);
/// Pause before the next try if stderr does not block and is full.
const RETRY: Duration = Duration::from_millis(10);

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

    /// Adds a line with its line feed. If there is no room, the line is dropped and counted.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.waiting.len() + state.taken + line.len() > LIMIT {
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
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A destination for tests. Each step is a number of bytes to write, or an error.
    struct Scripted {
        steps: Receiver<Result<usize, io::ErrorKind>>,
        written: Sender<String>,
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = self.steps.recv().map_err(io::Error::other)??.min(bytes.len());
            let _ = self.written.send(String::from_utf8_lossy(&bytes[..count]).into_owned());
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    type Steps = Sender<Result<usize, io::ErrorKind>>;

    /// A queue whose writer takes the result of each write from `steps`. Reports of lost lines are added to it as
    /// lines, as in the log.
    fn queue() -> (&'static LineQueue, Steps, Receiver<String>) {
        let queue: &'static LineQueue = Box::leak(Box::new(LineQueue::new()));
        let (step, steps) = channel();
        let (written, texts) = channel();
        let out = Scripted { steps, written };
        std::thread::spawn(move || queue.write_to(out, |lost| queue.push(format!("{lost} lost\n").as_bytes())));
        (queue, step, texts)
    }

    const ALL: Result<usize, io::ErrorKind> = Ok(usize::MAX);
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn without_room_lines_are_dropped_counted_and_reported_once_there_is_room() {
        let (queue, step, texts) = queue();
        queue.push(b"first\n");
        // The writer has taken the first line and waits for its reader.
        while queue.lock().taken == 0 {
            std::thread::yield_now();
        }
        let line = vec![b'x'; LIMIT / 4 - 10].into_iter().chain([b'\n']).collect::<Vec<u8>>();
        for _ in 0..7 {
            queue.push(&line);
        }
        assert_eq!(queue.dropped(), 3);
        assert!(!queue.flush(Duration::from_millis(5), LONG), "nothing is read");
        for _ in 0..7 {
            step.send(ALL).expect("a writer");
        }
        assert!(queue.flush(LONG, LONG));
        let texts: Vec<String> = texts.iter().take(6).collect();
        assert_eq!(texts[0], "first\n");
        assert!(texts[1..5].iter().all(|text| text.len() == line.len()), "the lines that fit");
        assert_eq!(texts[5], "3 lost\n");
        assert_eq!(queue.dropped(), 3);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_a_cut_line_is_ended() {
        let (queue, step, texts) = queue();
        for (lines, steps) in [
            ("one\ntwo\n", vec![Ok(2), Err(io::ErrorKind::StorageFull)]),
            ("three\n", vec![Err(io::ErrorKind::BrokenPipe)]),
            ("four\n", vec![Err(io::ErrorKind::WouldBlock), Err(io::ErrorKind::Interrupted), ALL, ALL, ALL]),
        ] {
            queue.push(lines.as_bytes());
            steps.into_iter().for_each(|it| step.send(it).expect("a writer"));
            assert!(queue.flush(LONG, LONG));
        }
        assert_eq!(texts.iter().take(4).collect::<String>(), "on\nfour\n3 lost\n");
        assert_eq!(queue.dropped(), 3);
    }

    #[test]
    fn a_piece_is_some_whole_lines() {
        let line = |length: usize| "x".repeat(length - 1) + "\n";
        assert_eq!(piece((line(10) + &line(20)).as_bytes()), 30);
        assert_eq!(piece((line(10) + &line(20) + &line(5000)).as_bytes()), 30);
        assert_eq!(piece((line(5000) + &line(10)).as_bytes()), 5000);
        assert_eq!(piece("x".repeat(5000).as_bytes()), 5000);
    }
}
