//! Starts the process that tries a model, gives it the files, and ends it if it takes too long.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use plimsoll_runtime::nn::ModelSource;

use crate::deploy::model_load::REPORT;

/// The command of this program that answers.
const COMMAND: &str = "load-model";
/// This program, also after its file was replaced or removed (proc_pid_exe(5)).
const PROGRAM: &str = "/proc/self/exe";
/// How much is kept of what the process writes: the last bytes.
const KEPT: usize = 64 << 10;

/// A process that has ended.
pub(super) struct Ended {
    /// `None` if the system does not tell it.
    pub(super) status: Option<ExitStatus>,
    /// What it wrote to its standard output.
    pub(super) said: String,
    /// What it wrote to standard error, as libraries do before they end a process.
    pub(super) complaints: String,
    /// The time after which it was ended.
    pub(super) given_up: Option<Duration>,
}

/// Starts the process, writes `line` and the files of `source` to its standard input, and waits for its end, or for `deadline`.
///
/// # Errors
/// If no process or no thread can be started.
pub(super) fn run(line: &[u8], source: &ModelSource, deadline: Option<Duration>) -> io::Result<Ended> {
    let mut child = start()?;
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (sender, end) = sync_channel::<()>(1);
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
            let said = named().spawn_scoped(scope, move || {
                // Its end is that of the process, which starts no other.
                let _sender = sender;
                last_of(output)
            })?;
            Ok((said, named().spawn_scoped(scope, move || last_of(errors))?))
        });
        let given_up = match &started {
            Ok(_) => wait(&end, &source.name, deadline),
            Err(_) => Some(Duration::ZERO),
        };
        if given_up.is_some() {
            // It may have ended meanwhile.
            let _ = child.kill();
        }
        let status = child.wait().ok();
        let (said, complaints) = started?;
        let text = |read: thread::ScopedJoinHandle<'_, Vec<u8>>| {
            String::from_utf8_lossy(&read.join().unwrap_or_default()).into_owned()
        };
        Ok(Ended { status, said: text(said), complaints: text(complaints), given_up })
    })
}

fn start() -> io::Result<Child> {
    let mut command = Command::new(PROGRAM);
    command.arg0("plimsoll").arg(COMMAND).env("RUST_LOG", "off").env("RUST_BACKTRACE", "0").env_remove("PLIMSOLL_LOG");
    // It gets no signal from a terminal. It ends with the thread that starts it, which waits for it.
    command.process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

/// Waits until the channel is closed. Returns the deadline if it comes first. The log says at intervals that it is waited for.
fn wait(end: &Receiver<()>, model: &str, deadline: Option<Duration>) -> Option<Duration> {
    let since = Instant::now();
    loop {
        let left = deadline.map(|deadline| deadline.saturating_sub(since.elapsed()));
        match end.recv_timeout(left.map_or(REPORT, |left| left.min(REPORT))) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) if left.is_some_and(|left| left <= REPORT) => return deadline,
            Err(RecvTimeoutError::Timeout) => {
                let time = since.elapsed();
                tracing::info!("the model {model} is still being tried in a process of its own, for {time:.0?}");
            }
        }
    }
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
