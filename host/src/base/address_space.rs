//! The limit of the address space of the process (`ulimit -v`). Instances reserve much more than they use, so they fail
//! under a limit that seems large.

use rustix::process::{Resource, getrlimit};

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
