//! A resource that the operating system refuses now: memory, or file descriptors. Then an instance cannot be built or
//! run, and this says nothing about its plugin.

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
}

impl Lack {
    /// What the operating system lacked when this error happened; `None` if the error has another cause.
    pub fn of(error: &io::Error) -> Option<Self> {
        match error.kind() {
            io::ErrorKind::OutOfMemory => Some(Self::Memory),
            _ => Errno::from_io_error(error).and_then(Self::of_errno),
        }
    }

    /// As [`Lack::of`], for an error with its causes.
    pub fn in_chain<'a>(chain: impl IntoIterator<Item = &'a (dyn Error + 'static)>) -> Option<Self> {
        chain.into_iter().find_map(|cause| {
            if cause.is::<wasmtime::error::OutOfMemory>() {
                return Some(Self::Memory);
            }
            let errno = cause.downcast_ref::<Errno>().copied().and_then(Self::of_errno);
            errno.or_else(|| cause.downcast_ref::<io::Error>().and_then(Self::of))
        })
    }

    /// The limit that may be the cause, as the end of a message; empty if there is none.
    pub fn cause(self) -> &'static str {
        match self {
            Self::Memory if getrlimit(Resource::As).current.is_some() => {
                " (the address space of the host is limited by `ulimit -v`, and each linear memory reserves 4 GiB of it)"
            }
            _ => "",
        }
    }

    fn of_errno(errno: Errno) -> Option<Self> {
        match errno {
            Errno::NOMEM => Some(Self::Memory),
            Errno::MFILE | Errno::NFILE => Some(Self::Descriptors),
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
            (Errno::INVAL, None),
            (Errno::NOENT, None),
        ] {
            assert_eq!(of(errno.into()), lack, "{errno}");
            assert_eq!(of(io(errno).into()), lack, "{errno}");
            assert_eq!(Lack::of(&io(errno)), lack, "{errno}");
        }
        assert_eq!(of(wasmtime::Trap::UnreachableCodeReached.into()), None);
    }
}
