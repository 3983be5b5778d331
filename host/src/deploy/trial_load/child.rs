//! Starts the process that tries a model, gives it the files, and ends it if it takes too long.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use plimsoll_runtime::nn::ModelSource;
use rustix::process::{Pid, Signal, kill_process_group};

use super::request::Answer;
use crate::deploy::model_load::REPORT;

/// The command of this program that answers.
const COMMAND: &str = "load-model";
/// This program, also after its file was replaced or removed (proc_pid_exe(5)).
const PROGRAM: &str = "/proc/self/exe";
/// How much is kept of what the process writes: the last bytes.
const KEPT: usize = 64 << 10;
/// How long a process may take to end after it has closed its output: the system frees its memory.
const ENDING: Duration = Duration::from_secs(10);

/// A process that has ended.
pub(super) struct Ended {
    /// What it answered.
    pub(super) answer: Option<Answer>,
    /// `None` if the system does not tell it.
    pub(super) status: Option<ExitStatus>,
    /// The last of what it wrote to standard error, as libraries do before they end a process.
    pub(super) complaints: String,
    /// The time after which it was ended.
    pub(super) given_up: Option<Duration>,
}

/// Starts the process, writes `line` and the files of `source` to its standard input, and waits for its answer or its end, or for
/// `deadline`. Then it is ended.
///
/// # Errors
/// If no process or no thread can be started.
pub(super) fn run(line: &[u8], source: &ModelSource, deadline: Option<Duration>) -> io::Result<Ended> {
    let mut child = start()?;
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (sender, answer) = sync_channel(1);
    // Each of its streams has a thread: a process that writes much before it reads must not stop.
    thread::scope(|scope| {
        let named = || Builder::new().name("trial".to_owned());
        let started = named().spawn_scoped(scope, move || {
            let mut input = input?;
            let files = source.external.iter().map(|(_, bytes)| &***bytes);
            // A process that has ended reads no more.
            let mut parts = [line, &**source.bytes].into_iter().chain(files);
            parts.try_for_each(|bytes| input.write_all(bytes)).ok()
        });
        let started = started.and_then(|_| {
            // The sender is dropped at the end of the stream.
            named().spawn_scoped(scope, move || answer_in(output).map(|answer| sender.send(answer)))?;
            named().spawn_scoped(scope, move || last_of(errors))
        });
        let (answer, given_up) = match &started {
            Ok(_) => wait(&answer, &source.name, deadline),
            Err(_) => (None, None),
        };
        // Without an answer it is ending, and how is worth knowing.
        let is_ending = started.is_ok() && answer.is_none() && given_up.is_none();
        let status = if is_ending { end_of(&mut child) } else { None };
        if status.is_none() {
            end(&mut child);
        }
        let status = status.or_else(|| child.wait().ok());
        let complaints = String::from_utf8_lossy(&started?.join().unwrap_or_default()).into_owned();
        Ok(Ended { answer, status, complaints, given_up })
    })
}

/// Ends the process, and those that a library may have started in it.
fn end(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.kill();
}

/// How a process ends that has closed its output; `None` if it goes on nevertheless.
fn end_of(child: &mut Child) -> Option<ExitStatus> {
    let since = Instant::now();
    while since.elapsed() < ENDING {
        match child.try_wait() {
            Ok(None) => thread::sleep(Duration::from_millis(2)),
            Ok(status) => return status,
            Err(_) => return None,
        }
    }
    None
}

fn start() -> io::Result<Child> {
    let mut command = Command::new(PROGRAM);
    command.arg0("plimsoll").arg(COMMAND).env("RUST_LOG", "off").env("RUST_BACKTRACE", "0").env_remove("PLIMSOLL_LOG");
    // It gets no signal from a terminal. It ends with the thread that starts it, which waits for it.
    command.process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

/// Waits for an answer. Without one, returns the deadline if it has passed. The log says at intervals that it is waited for.
fn wait(answer: &Receiver<Answer>, model: &str, deadline: Option<Duration>) -> (Option<Answer>, Option<Duration>) {
    let since = Instant::now();
    loop {
        let left = deadline.map(|deadline| deadline.saturating_sub(since.elapsed()));
        match answer.recv_timeout(left.map_or(REPORT, |left| left.min(REPORT))) {
            Ok(answer) => return (Some(answer), None),
            Err(RecvTimeoutError::Disconnected) => return (None, None),
            Err(RecvTimeoutError::Timeout) if left.is_some_and(|left| left <= REPORT) => return (None, deadline),
            Err(RecvTimeoutError::Timeout) => {
                let time = since.elapsed();
                tracing::info!("the model {model} is still being tried in a process of its own, for {time:.0?}");
            }
        }
    }
}

/// The answer in a stream, to which libraries may write too.
fn answer_in(stream: Option<impl Read>) -> Option<Answer> {
    let mut stream = BufReader::new(stream?);
    let mut line = Vec::new();
    while let Ok(1..) = Read::by_ref(&mut stream).take(KEPT as u64).read_until(b'\n', &mut line) {
        if let Ok(answer) = serde_json::from_slice(&line) {
            return Some(answer);
        }
        line.clear();
    }
    None
}

/// The last bytes of a stream.
fn last_of(stream: Option<impl Read>) -> Vec<u8> {
    let (mut kept, mut part) = (Vec::new(), [0; 4096]);
    let Some(mut stream) = stream else { return kept };
    loop {
        match stream.read(&mut part) {
            Ok(0) => return kept,
            Ok(count) => kept.extend_from_slice(&part[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return kept,
        }
        let before = kept.len().saturating_sub(KEPT);
        kept.drain(..before);
    }
}
