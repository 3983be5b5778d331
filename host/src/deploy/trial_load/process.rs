//! The process that tries a model.

use std::fs;
use std::io::{self, BufRead, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use plimsoll_runtime::nn::{Device, LoadedModel, ModelSource};
use plimsoll_runtime::scheduling::Scheduling;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getppid, getrlimit, nice, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use tokio::sync::Semaphore;

use super::request::{Answer, Request};
use crate::base::process::peak_memory;
use crate::deploy::file_store_error::FileStoreError;
use crate::deploy::model_load::{ModelLoad, batches};
use crate::records::metrics::{Buckets, Metrics};

/// It computes a third as much as a thread of the server if both want to.
const NICE: i32 = 5;
/// Address space of the stacks of threads, for each core. It counts as memory, and little of it is used.
const STACKS: u64 = 8 << 20;

/// Reads a request from standard input, loads the model, and writes the answer to standard output. Must be called inside of a
/// tokio runtime, on a thread that may block.
///
/// # Errors
/// If the request cannot be read or the answer cannot be written.
pub fn answer() -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    input.read_until(b'\n', &mut line)?;
    let request: Request = serde_json::from_slice(&line)?;
    limit(&request)?;
    let mut read = |length: usize| {
        let mut bytes = vec![0; length];
        input.read_exact(&mut bytes).map(|()| Arc::new(bytes))
    };
    let bytes = read(request.bytes)?;
    let external = request.external.iter().map(|(name, length)| Ok((name.clone(), read(*length)?)));
    let external = external.collect::<io::Result<_>>()?;
    let source = ModelSource {
        name: request.name.clone(),
        path: request.path(),
        bytes,
        external,
        device: Device::Cpu,
        options: request.wanted.options(),
    };
    let loaded = catch_unwind(AssertUnwindSafe(|| load(&request, source)));
    let answer = match &loaded {
        Ok(Ok(_)) => Answer::Loaded { peak: peak_memory() },
        Ok(Err(error)) => Answer::Refused(error.to_string()),
        Err(_) => {
            let file = request.path();
            Answer::Refused(format!("{}: the library panics when it loads this model; export it again", file.display()))
        }
    };
    // Before the model is dropped, which a library may not survive. It may have written to the same stream.
    let line = format!("\n{}\n", serde_json::to_string(&answer)?);
    let mut output = io::stdout();
    output.write_all(line.as_bytes()).and_then(|()| output.flush())
}

/// Loads the model as the server does, and runs it once: its first run is not the server's.
fn load(request: &Request, source: ModelSource) -> Result<LoadedModel, FileStoreError> {
    let load = ModelLoad {
        digest: String::new(),
        backend: request.wanted.backend.open(&request.settings, &request.folder())?.into(),
        permits: Arc::new(Semaphore::new(1)),
        file_bytes: 0,
        batches: batches(&request.wanted, &source, &Metrics::new(Buckets::Fine, false).batches()),
        source,
        scheduling: Scheduling::default(),
        wanted: request.wanted.clone(),
    };
    let model = load.load_here()?;
    model.try_run();
    Ok(model)
}

/// Sets what this process may take, and that it ends with the server.
fn limit(request: &Request) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let parent = getppid().map(|parent| parent.as_raw_nonzero().get().unsigned_abs());
    if parent != Some(request.parent) {
        return Err(io::Error::other("the server that asked has ended"));
    }
    if let Some(memory) = request.memory {
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        let limit = memory.saturating_add(cores * STACKS);
        // A limit that is set already may be lower, and stays.
        let Rlimit { current, maximum } = getrlimit(Resource::Data);
        let current = Some(current.map_or(limit, |current| current.min(limit)));
        setrlimit(Resource::Data, Rlimit { current, maximum })?;
    }
    nice(NICE)?;
    // If the machine has no memory left, the kernel ends this process and not the server (proc_pid_oom_score_adj(5)). Where
    // the file cannot be written, the limit above is what there is.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    // No core dump: it would be as large as the model. After this, files of this process in /proc belong to root.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(io::Error::from)
}
