//! Something that the operating system refuses now, for example memory or file descriptors. Then an instance cannot be
//! built or run, and this says nothing about its plugin.

use std::error::Error;
use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// What the operating system refuses now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lack {
    /// Memory, or address space.
    #[error("memory")]
    Memory,
    /// File descriptors, of this process or of the whole system. wasmtime needs one for the initial memory of each
    /// module of a component.
    #[error("file descriptors (`ulimit -n`)")]
    Descriptors,
    /// Threads, of this user or of the cgroup.
    #[error("threads (`ulimit -u`, `pids.max` of the cgroup)")]
    Threads,
    /// A file may not become as large as needed. wasmtime keeps the initial memory of a module in a file without a name.
    #[error("file of the needed size (`ulimit -f`)")]
    FileSize,
    /// Anything else.
    #[error("help of the operating system ({0})")]
    Other(Errno),
}

impl Lack {
    /// What the operating system lacked when this error happened; `None` if the error has another cause.
    pub fn of(error: &io::Error) -> Option<Self> {
        match error.kind() {
            io::ErrorKind::OutOfMemory => Some(Self::Memory),
            io::ErrorKind::WouldBlock => Some(Self::Threads),
            _ => Errno::from_io_error(error).and_then(Self::of_errno),
        }
    }

    /// What the operating system refused when an instance was compiled, built or run; `None` if the error has another
    /// cause.
    pub fn in_chain<'a>(chain: impl IntoIterator<Item = &'a (dyn Error + 'static)>) -> Option<Self> {
        chain.into_iter().find_map(|cause| {
            if cause.is::<wasmtime::error::OutOfMemory>() {
                return Some(Self::Memory);
            }
            if let Some(error) = cause.downcast_ref::<io::Error>()
                && let Some(lack) = Self::of(error)
            {
                return Some(lack);
            }
            let errno = cause.downcast_ref::<Errno>().copied();
            let errno = errno.or_else(|| cause.downcast_ref::<io::Error>().and_then(Errno::from_io_error))?;
            // A guest makes no errors of the operating system.
            Some(Self::of_errno(errno).unwrap_or(Self::Other(errno)))
        })
    }

    /// The limit that may be the cause, as the end of a message; empty if there is none.
    pub fn cause(self) -> &'static str {
        match self {
            Self::Memory if getrlimit(Resource::As).current.is_some() => {
                " (the address space of the host is limited by `ulimit -v`, and each linear memory reserves 4 GiB of it)"
            }
            Self::FileSize => {
                " (`ulimit -f` limits the size of the file with the plugin's initial memory; raise it, and start the host \
                 again)"
            }
            _ => "",
        }
    }

    fn of_errno(errno: Errno) -> Option<Self> {
        match errno {
            Errno::NOMEM => Some(Self::Memory),
            Errno::MFILE | Errno::NFILE => Some(Self::Descriptors),
            Errno::AGAIN => Some(Self::Threads),
            Errno::FBIG => Some(Self::FileSize),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_of_the_operating_system_are_a_lack() {
        let of =
            |error: wasmtime::Error| Lack::in_chain(error.context("mmap failed to allocate 0x10000 bytes").chain());
        let io = |errno: Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        for (errno, lack) in [
            (Errno::NOMEM, Some(Lack::Memory)),
            (Errno::MFILE, Some(Lack::Descriptors)),
            (Errno::NFILE, Some(Lack::Descriptors)),
            (Errno::AGAIN, Some(Lack::Threads)),
            (Errno::FBIG, Some(Lack::FileSize)),
            (Errno::PERM, None),
            (Errno::NOENT, None),
        ] {
            let of_instance = lack.or(Some(Lack::Other(errno)));
            assert_eq!(of(errno.into()), of_instance, "{errno}");
            assert_eq!(of(io(errno).into()), of_instance, "{errno}");
            assert_eq!(Lack::of(&io(errno)), lack, "{errno}");
        }
        assert_eq!(of(wasmtime::Trap::UnreachableCodeReached.into()), None);
    }
}
