//! The limit of the address space of the process (`ulimit -v`). Instances reserve much more than they use, so they fail
//! under a limit that seems large.

use rustix::process::{Resource, getrlimit};

/// Minimum limit with which the host starts: the reserved address space of one linear memory (4 GiB), and as much again
/// for its guard region, the compiler and the threads. Under a lower limit, allocations of a few bytes fail, and a
/// failed allocation ends the process without a message that names the limit.
const LEAST: u64 = 8 << 30;

/// The limit of the address space leaves no room to build a plugin and run it.
#[derive(Debug, thiserror::Error)]
#[error("there is not enough address space{}", hint_for(.limit))]
pub struct TooLittle {
    /// The limit in bytes.
    limit: u64,
}

/// Checks that the limit leaves room to build a plugin and run it.
///
/// # Errors
/// [`TooLittle`] if it does not: the reason, and how to fix it.
pub fn check() -> Result<(), TooLittle> {
    match getrlimit(Resource::As).current {
        Some(limit) if limit < LEAST => Err(TooLittle { limit }),
        _ => Ok(()),
    }
}

/// The text to add to the message of a failure that the limit may have caused; empty if there is no limit.
pub fn hint() -> String {
    getrlimit(Resource::As).current.as_ref().map_or_else(String::new, hint_for)
}

fn hint_for(limit: &u64) -> String {
    format!(
        "; the address space of this process is limited to {} (`ulimit -v`), and each linear memory reserves 4 GiB of it, \
         so remove this limit and use `max_memory` or a cgroup instead",
        bytesize::ByteSize::b(*limit)
    )
}
