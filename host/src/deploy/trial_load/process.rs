//! The process that loads a model for the server.

use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use plimsoll_runtime::nn::{Device, ModelSource};
use plimsoll_runtime::scheduling::Scheduling;
use rustix::process::{
    Resource, Rlimit, Signal, getpid, getrlimit, kill_process, nice, set_parent_process_death_signal, setrlimit,
};
use tokio::sync::Semaphore;

use super::{Answer, Request};
use crate::deploy::file_store_error::FileStoreError;
use crate::deploy::model_load::{ModelLoad, batches};
use crate::records::metrics::{Buckets, Metrics};

/// It computes only what other threads of the machine leave.
const NICE: i32 = 10;

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
        name: request.name,
        path: request.path,
        bytes,
        external,
        device: Device::Cpu,
        options: request.wanted.options(),
    };
    let loaded = request.wanted.backend.open(&request.settings, &request.folder).map_err(FileStoreError::from);
    let loaded = loaded.and_then(|backend| {
        let load = ModelLoad {
            digest: String::new(),
            backend: backend.into(),
            permits: Arc::new(Semaphore::new(1)),
            file_bytes: 0,
            batches: batches(&request.wanted, &source, &Metrics::new(Buckets::Fine, false).batches()),
            source,
            scheduling: Scheduling::default(),
            wanted: request.wanted,
        };
        load.load_here()
    });
    let answer = match loaded {
        Ok(_) => Answer::Loaded,
        Err(error) => Answer::Refused(error.to_string()),
    };
    io::stdout().write_all(&serde_json::to_vec(&answer)?)
}

/// Sets what this process may take.
fn limit(request: &Request) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // A limit that is set already may be lower, and stays.
    let set = |resource, limit: u64| {
        let Rlimit { current, maximum } = getrlimit(resource);
        setrlimit(resource, Rlimit { current: Some(current.map_or(limit, |current| current.min(limit))), maximum })
    };
    set(Resource::Core, 0)?;
    if let Some(memory) = request.memory {
        set(Resource::Data, memory)?;
    }
    nice(NICE)?;
    // If the machine has no memory left, the kernel ends this process and not the server (proc_pid_oom_score_adj(5)). Where
    // the file cannot be written, the limit above is what there is.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    if let Some(deadline) = request.deadline {
        let end = move || {
            // What is on its way to the server then.
            thread::sleep(deadline + Duration::from_millis(50));
            let _ = kill_process(getpid(), Signal::KILL);
        };
        thread::Builder::new().name("deadline".to_owned()).spawn(end)?;
    }
    Ok(())
}
