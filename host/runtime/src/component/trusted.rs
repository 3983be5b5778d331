//! Loads compiled code: from the cache, and from another engine of this process.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;

use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSection};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use wasmtime::Engine;
use wasmtime::component::Component;

/// Loads what the cache of compiled code has. Cranelift reads functions, too, from entries that are authenticated in the same
/// way.
#[allow(unsafe_code, reason = "measured by the bench `deploy`: 47 ms instead of 1.8 s for `image-preprocess`")]
pub(super) fn load(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize` requires bytes that `Component::serialize` of this version of wasmtime wrote. The caller has
    // authenticated them with a key that only this user can read, together with a name that includes the hash of wasmtime's
    // version and of the engine's settings. They are in memory, so they cannot change after the check.
    unsafe { Component::deserialize(engine, code) }
}

/// The section of compiled code that has the data of linear memories: those with which they begin, and those that a guest may
/// write to them later (`wasmtime_environ::obj::ELF_WASM_DATA`).
const DATA: &str = ".rodata.wasm";

/// Bytes of a page of the operating system.
const PAGE: usize = 4096;

/// The code of a component, from which other engines of this process load it. They share the pages of the machine code.
pub(super) struct SharedCopy {
    file: File,
    /// Bytes of the pages of data of the linear memories, those of a snapshot included, without pages of zeros.
    pub(super) data: usize,
}

impl SharedCopy {
    /// Writes the code of a component to a file in memory that nobody can change any more.
    ///
    /// # Errors
    /// If the system has no memory, or no such files.
    pub(super) fn new(component: &Component) -> wasmtime::Result<Self> {
        let file = memfd_create("component", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let mut file = File::from(file);
        let code = component.serialize()?;
        let section = ElfFile64::<Endianness>::parse(&*code)?.section_by_name(DATA).map(|section| section.data());
        let pages = section.transpose()?.unwrap_or_default().chunks(PAGE);
        let data = pages.filter(|page| page.iter().any(|byte| *byte != 0)).map(<[u8]>::len).sum();
        file.write_all(&code)?;
        fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok(Self { file, data })
    }

    /// Loads the code into an engine.
    ///
    /// # Errors
    /// If the engine has other settings than that of the component, or has no memory.
    #[allow(
        unsafe_code,
        reason = "measured by the bench `scaling`: two threads make 1.5 to 1.9 instead of 1.2 times the requests of one"
    )]
    pub(super) fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        // SAFETY: `deserialize_file` requires a file that `Component::serialize` of this version of wasmtime wrote, and that does
        // not change while the component exists. This process wrote it in `new` and sealed it, so nobody can change it. The
        // path is that of the open file in the file system of the kernel, and `self` keeps the file open meanwhile.
        unsafe { Component::deserialize_file(engine, path) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom};

    use super::*;

    #[test]
    fn a_shared_copy_can_be_loaded_and_not_be_changed() {
        // A component that contains nothing.
        let component = Component::new(&Engine::default(), b"\0asm\x0d\0\x01\0").expect("compiled");
        let copy = SharedCopy::new(&component).expect("a file in memory");
        assert!(copy.load(&Engine::default()).is_ok());
        let other = wasmtime::Config::new().epoch_interruption(true).clone();
        assert!(copy.load(&Engine::new(&other).expect("an engine")).is_err(), "it has other settings");
        let mut file = copy.file.try_clone().expect("a descriptor");
        file.seek(SeekFrom::Start(0)).expect("a position");
        assert!(file.write_all(b"other code").is_err() && file.set_len(0).is_err() && file.set_len(1 << 30).is_err());
        assert!(copy.load(&Engine::default()).is_ok());
    }
}
