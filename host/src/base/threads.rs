//! The limits of threads: of their number (`ulimit -u`, and the limit `pids` of a container), and of the stack of the main
//! thread (`ulimit -s`).

use std::io;
use std::sync::RwLock;
use std::thread::{Builder, available_parallelism, scope};

use bytesize::ByteSize;
use rustix::process::{Resource, getrlimit};

use super::address_space;

/// Threads beyond those of the cores: the log, the epoch, signals.
const OWN: usize = 4;
/// Threads for blocking work that a server needs at the same time.
const BLOCKING: usize = 16;

/// The system refuses the threads that the process needs.
#[derive(Debug, thiserror::Error)]
#[error(
    "the process needs {needed} threads, and the system refuses them after {started}: {error}{}{}; raise the limit of \
     processes and threads of the user (`ulimit -u`) or of the container (`pids`)",
    shown_limit(),
    address_space::hint()
)]
pub struct TooFewThreads {
    needed: usize,
    started: usize,
    error: io::Error,
}

/// The stack of the main thread that the process needs. Usual is 8 MiB.
const STACK: u64 = 1 << 20;

/// The stack of the main thread is too small.
#[derive(Debug, thiserror::Error)]
#[error("the stack is limited to {} (`ulimit -s`), and {} are needed", ByteSize::b(*.0), ByteSize::b(STACK))]
pub struct SmallStack(u64);

/// Checks that the stack of the main thread is large enough. A stack that overflows ends the process without a message that
/// names the limit.
///
/// # Errors
/// If it is too small.
pub fn check_stack() -> Result<(), SmallStack> {
    match getrlimit(Resource::Stack).current {
        Some(limit) if limit < STACK => Err(SmallStack(limit)),
        _ => Ok(()),
    }
}

fn shown_limit() -> String {
    getrlimit(Resource::Nproc).current.map_or_else(String::new, |limit| format!("; `ulimit -u` is {limit}"))
}

/// Checks that the process can start the threads that it needs, by starting as many at the same time. Later a refused
/// thread would be a panic of the async runtime, or a request that waits.
///
/// # Errors
/// If the system refuses a thread. The message names the limits.
pub fn check(is_server: bool) -> Result<(), TooFewThreads> {
    let cores = available_parallelism().map_or(1, usize::from);
    // A server has a thread for each core to serve, and one to compile.
    let needed = if is_server { 2 * cores + OWN + BLOCKING } else { cores + OWN };
    start(needed).map_err(|(started, error)| TooFewThreads { needed, started, error })
}

/// Starts threads that all live at the same time.
fn start(needed: usize) -> Result<(), (usize, io::Error)> {
    let gate = RwLock::new(());
    scope(|scope| {
        // The threads end when this is dropped.
        let _closed = gate.write();
        (0..needed).try_for_each(|started| {
            let spawned = Builder::new().spawn_scoped(scope, || drop(gate.read()));
            spawned.map(drop).map_err(|error| (started, error))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_the_limits() {
        check(true).expect("this machine has threads");
        let error = TooFewThreads { needed: 24, started: 3, error: io::ErrorKind::WouldBlock.into() };
        let text = error.to_string();
        assert!(text.contains("needs 24 threads") && text.contains("`ulimit -u`") && text.contains("`pids`"), "{text}");
    }
}
