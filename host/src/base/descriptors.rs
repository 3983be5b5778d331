//! The limit of open file descriptors.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The number of file descriptors that this process may open; `None` if there is no limit.
pub fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Raises the soft limit to the hard limit, which needs no privileges. The soft limit is often 1,024, because some
/// programs cannot handle more.
pub fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        let current = current.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
        tracing::warn!("the limit of open files stays at {current}, because it cannot be raised: {error}");
    }
}
