//! The limit of the address space of the process (`ulimit -v`). Instances reserve much more than they use, so they fail
//! under a limit that seems large.

use rustix::process::{Resource, getrlimit};

/// The least limit under which anything is built: the reserved address space of one linear memory (4 GiB), and as much
/// for its guard region, the compiler and the threads. Below it, allocations of a few bytes fail, and a failed
/// allocation ends the process without a message that names the limit.
const LEAST: u64 = 8 << 30;

/// Checks that the limit leaves room to build a plugin and run it.
///
/// # Errors
/// The reason and the mend, if it does not.
pub fn check() -> Result<(), String> {
    match getrlimit(Resource::As).current {
        Some(bytes) if bytes < LEAST => Err(format!("there is not enough address space{}", hint())),
        _ => Ok(()),
    }
}

/// What to add to the message of a failure that the limit may have caused; empty if there is no limit.
pub fn hint() -> String {
    match getrlimit(Resource::As).current {
        Some(bytes) => format!(
            "; the address space of this process is limited to {} (`ulimit -v`), and each linear memory reserves 4 GiB of \
             it, so remove this limit and use `max_memory` or a cgroup instead",
            bytesize::ByteSize::b(bytes)
        ),
        None => String::new(),
    }
}
