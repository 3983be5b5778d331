//! A model on the CPU is loaded in a process of its own first, and by the server only if that went well. The libraries that run
//! models can be ended by a file of a few hundred bytes: constants of terabytes, a recursion that exhausts the stack, hours of
//! computation. No limit inside of a process stops all of them; the end of another process does no harm.
//!
//! That process gets the files through its standard input, and does what the server then does: the session, and the first runs
//! with every batch size; `process` is that process. A model that was loaded so before is in the compiled cache.

mod process;

use std::io::{self, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use plimsoll_runtime::component::{CompiledCache, EntryName};
use plimsoll_runtime::nn::{Backend, BackendSettings, Device, ModelSource};
use plimsoll_runtime::text::shortened;
use rustix::process::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

pub use self::process::answer;
use super::file_store_error::FileStoreError;
use super::model_load::REPORT;
use crate::base::process::available_memory;
use crate::config;

/// The command of this program that answers a [`Request`].
pub const COMMAND: &str = "load-model";
/// This program, also after its file was replaced or removed (proc_pid_exe(5)).
const PROGRAM: &str = "/proc/self/exe";
/// What the process may take however little memory is available: threads of the libraries reserve stacks.
const LEAST_MEMORY: u64 = 1 << 30;
/// What the files take at the least: once read, once prepared, once in the library.
const COPIES: u64 = 3;

/// True if [`PROGRAM`] has the command.
static IS_AVAILABLE: AtomicBool = AtomicBool::new(false);

/// Says that this program has the command. Without it, models are loaded at once: another program would do something else with
/// the argument.
pub fn enable() {
    IS_AVAILABLE.store(true, Relaxed);
}

/// What the process is asked, as a line of JSON. The bytes of the files follow.
#[derive(Serialize, Deserialize)]
struct Request {
    name: String,
    path: PathBuf,
    wanted: config::Model,
    /// The settings of the backend, and the folder where relative paths in them start.
    settings: BackendSettings,
    folder: PathBuf,
    /// The length of the model's file.
    bytes: usize,
    /// The files with its weights, and their lengths.
    external: Vec<(String, usize)>,
    /// The most bytes of memory that the process may take.
    memory: Option<u64>,
    /// The process ends itself after this time.
    deadline: Option<Duration>,
}

/// What the process says.
#[derive(Serialize, Deserialize)]
enum Answer {
    Loaded,
    Refused(String),
}

/// A model that is to be loaded in a process of its own. Other devices than the CPU would hold it twice.
pub(super) struct FirstLoad<'a> {
    pub(super) source: &'a ModelSource,
    pub(super) wanted: &'a config::Model,
    /// The settings of the backend.
    pub(super) settings: &'a BackendSettings,
    /// Where relative paths in the settings start.
    pub(super) folder: PathBuf,
}

impl FirstLoad<'_> {
    /// Loads the model, unless that was done before according to `cache`. `digest` is that of the model's files.
    ///
    /// # Errors
    /// Why the model cannot be loaded, or the process cannot be started.
    pub(super) fn make(
        self,
        digest: &str,
        backend: &dyn Backend,
        cache: Option<&CompiledCache>,
    ) -> Result<(), FileStoreError> {
        let (source, wanted) = (self.source, self.wanted);
        if !IS_AVAILABLE.load(Relaxed) || !wanted.trial_load || source.device != Device::Cpu {
            return Ok(());
        }
        let batches = format!("{:?}", (wanted.max_batch, &wanted.batch_sizes, wanted.max_batch_unproven));
        let options = format!("{:?} {}", wanted.options(), self.settings);
        let name = [digest, &backend.description(), wanted.backend.as_str(), &batches, &options];
        let name = EntryName::without_engine(&name);
        if cache.is_some_and(|cache| cache.is_remembered(&name)) {
            return Ok(());
        }
        let Some(request) = self.request() else { return Ok(()) };
        let since = Instant::now();
        let output = patiently(&source.name, || ask(start()?, &request, source)).map_err(FileStoreError::NoProcess)?;
        match serde_json::from_slice(&output.stdout) {
            Ok(Answer::Loaded) => {
                tracing::debug!(
                    "the model {} was loaded in a process of its own in {:.0?}",
                    source.name,
                    since.elapsed()
                );
                if let Some(cache) = cache {
                    cache.remember(&name);
                }
                Ok(())
            }
            Ok(Answer::Refused(reason)) => Err(FileStoreError::Trial(reason)),
            Err(_) => {
                let reason = reason(&output, &request, since.elapsed());
                Err(FileStoreError::Died { path: source.path.clone(), reason })
            }
        }
    }

    /// What the process is asked; `None` if it has too little memory even for the files.
    fn request(self) -> Option<Request> {
        let Self { source, wanted, settings, folder } = self;
        let files = source.bytes.len() + source.external.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        // The server must be able to take memory meanwhile.
        let available = available_memory().map(|available| (available / 4 * 3).max(LEAST_MEMORY));
        let memory = available.into_iter().chain(getrlimit(Resource::Data).current).min();
        if let Some(memory) = memory.filter(|memory| *memory / COPIES < files as u64) {
            tracing::warn!(
                "model {}: whether it can be loaded is not tried in a process of its own first: its files have {}, and that \
                 process could take {} of memory",
                source.name,
                ByteSize::b(files as u64),
                ByteSize::b(memory)
            );
            return None;
        }
        Some(Request {
            name: source.name.clone(),
            path: source.path.clone(),
            wanted: wanted.clone(),
            settings: settings.clone(),
            folder,
            bytes: source.bytes.len(),
            external: source.external.iter().map(|(name, bytes)| (name.clone(), bytes.len())).collect(),
            memory,
            deadline: wanted.load_deadline(),
        })
    }
}

/// Does something that may take long. The log says at intervals that the model is still being loaded.
fn patiently<T: Send>(model: &str, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let (sender, result) = sync_channel(1);
    let since = Instant::now();
    thread::scope(|scope| {
        // The sender is dropped when the thread ends.
        let work = move || sender.send(work());
        thread::Builder::new().name("model".to_owned()).spawn_scoped(scope, work)?;
        loop {
            match result.recv_timeout(REPORT) {
                Ok(done) => return done,
                Err(RecvTimeoutError::Timeout) => {
                    tracing::info!(
                        "the model {model} is still being tried in a process of its own, for {:.0?}",
                        since.elapsed()
                    );
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::Error::other("its thread ended without a result"));
                }
            }
        }
    })
}

fn start() -> io::Result<Child> {
    let mut command = Command::new(PROGRAM);
    command.arg0("plimsoll").arg(COMMAND).env("RUST_LOG", "off").env_remove("PLIMSOLL_LOG");
    // It gets no signal from a terminal: it ends with the thread that waits for it.
    command.process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

fn ask(mut child: Child, request: &Request, source: &ModelSource) -> io::Result<Output> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    if let Some(mut input) = child.stdin.take() {
        let mut parts =
            std::iter::once(&line).chain([&*source.bytes]).chain(source.external.iter().map(|(_, bytes)| &**bytes));
        // A process that has ended reads no more; what it said is read below.
        let _ = parts.try_for_each(|bytes| input.write_all(bytes));
    }
    child.wait_with_output()
}

/// Why a process that said nothing ended.
fn reason(output: &Output, request: &Request, took: Duration) -> String {
    if let Some(deadline) = request.deadline.filter(|deadline| took >= *deadline) {
        return format!("it was not loaded after {deadline:?} (`load_deadline`; raise it if loading takes so long).");
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().map(str::trim).find(|line| !line.is_empty()).map(shortened);
    let said = said.map(|said| format!(", which said: {said}")).unwrap_or_default();
    let limit = request.memory.map(|memory| format!(" It could take {} of memory.", ByteSize::b(memory)));
    let how = match (output.status.signal(), output.status.code()) {
        (Some(signal), _) => format!("ended by signal {signal}"),
        (None, Some(code)) => format!("ended with code {code}"),
        (None, None) => "ended".to_owned(),
    };
    format!("the process that tried it {how}{said}.{}", limit.unwrap_or_default())
}
