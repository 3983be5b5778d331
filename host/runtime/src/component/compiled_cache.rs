//! The compiled cache: code that was compiled once is not compiled again at the next start.
//!
//! wasmtime checks only the major version of compiled code, and loading foreign bytes means running foreign code. So
//! the name of an entry depends on everything that its code depends on: the component, the engine's settings and
//! wasmtime's version, and for a snapshot the inputs of `init`. Entries are in a folder that only its owner can write
//! to, and are authenticated by HMAC-SHA-256 (RFC 2104) with a key in that folder. An entry that cannot be trusted is
//! compiled again. The folder may be read-only, and may belong to root, which can change this process anyway.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::cache_error::{CacheError, EntryError};
use super::cache_key::{KEY_BYTES, KEY_FILE, read_or_create_key, read_regular};
use super::draft::{Draft, remove_dead_drafts};
use super::entry_name::EntryName;
use super::trusted;

type Authenticator = Hmac<Sha256>;

const MAC_BYTES: usize = 32;
const LENGTH_BYTES: usize = 4;
/// The user id of root, which can change every file anyway.
const ROOT: u32 = 0;
/// The write permissions of group and others. No other user may write to the folder.
const OTHERS_MAY_WRITE: u32 = 0o022;
/// The folder is looked through at least each time that this part of its limit was written.
const PRUNES: u64 = 64;

/// The endings of the files with code, with functions, and with what was done.
const CODE: &str = "cwasm";
const FUNCTIONS: &str = "functions";
const DONE: &str = "done";

/// A folder of compiled code.
pub struct CompiledCache {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
    max_bytes: u64,
    /// How many bytes may be written until the folder is looked through again.
    room: Mutex<u64>,
    /// True if the last write failed. A failure is logged once, until a write succeeds.
    has_failed: AtomicBool,
}

/// What an entry has in addition to the code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Why `init` must run in every instance, if it must.
    pub init_in_every_instance: Option<String>,
}

impl CompiledCache {
    /// Opens the folder, and creates it if it is missing. Drafts of processes that died are removed. A folder that cannot
    /// be written to is only read. `max_bytes` limits the size of the cache.
    ///
    /// # Errors
    /// If the folder cannot be created, or another user could write to it; the message says how to fix it.
    pub fn open(folder: &Path, max_bytes: u64) -> Result<Self, CacheError> {
        let failed = |error| CacheError::Io { folder: folder.to_owned(), error };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let metadata = fs::metadata(folder).map_err(failed)?;
        let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
        if owner != user && owner != ROOT {
            return Err(CacheError::Foreign { folder: folder.to_owned(), owner, user });
        }
        if metadata.mode() & OTHERS_MAY_WRITE != 0 {
            return Err(CacheError::NotPrivate(folder.to_owned()));
        }
        remove_dead_drafts(folder);
        let path = folder.join(KEY_FILE);
        let key = read_or_create_key(folder, &path).map_err(|error| CacheError::Key { path, user, error })?;
        Ok(Self { folder: folder.to_owned(), key, max_bytes, room: Mutex::new(0), has_failed: AtomicBool::new(false) })
    }

    /// The code of an entry, or `None` if there is none that can be trusted.
    pub fn load(&self, engine: &Engine, name: &EntryName) -> Option<(Note, Component)> {
        self.open_entry(name, &self.path(name, CODE), |note, code| {
            let note = serde_json::from_slice(note).map_err(EntryError::Note)?;
            let component = trusted::load(engine, code).map_err(EntryError::Code)?;
            Ok((note, component))
        })
    }

    /// Gives the functions that [`CompiledCache::store_functions`] wrote to `take`, if they can be trusted.
    pub fn load_functions(&self, name: &EntryName, take: impl FnOnce(&[u8])) {
        self.open_entry(name, &self.path(name, FUNCTIONS), |_, functions| {
            take(functions);
            Ok(())
        });
    }

    /// Reads an entry: its note and its bytes.
    fn open_entry<R>(
        &self,
        name: &EntryName,
        path: &Path,
        read: impl FnOnce(&[u8], &[u8]) -> Result<R, EntryError>,
    ) -> Option<R> {
        let bytes = match read_regular(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(entry = %path.display(), "cannot read an entry of the compiled cache: {error}");
                return None;
            }
        };
        match self.authenticate(name, &bytes).and_then(|(note, code)| read(note, code)) {
            Ok(found) => {
                // The modification time is the time of the last use; it decides what is removed when the cache is full.
                let _ = File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
                Some(found)
            }
            Err(reason) => {
                tracing::warn!(entry = %path.display(), "ignoring an entry of the compiled cache: {reason}");
                let _ = fs::remove_file(path);
                None
            }
        }
    }

    /// Stores compiled code. A failure only makes the next start slower; it is logged once.
    pub fn store(&self, name: &EntryName, note: &Note, component: &Component) {
        let written = component.serialize().map_err(|error| format!("{error:#}")).and_then(|code| {
            let note = serde_json::to_vec(note).map_err(|error| error.to_string())?;
            self.write(name, &self.path(name, CODE), &note, &code).map_err(|error| error.to_string())
        });
        let had_failed = self.has_failed.swap(written.is_err(), Relaxed);
        if let Err(reason) = written
            && !had_failed
        {
            let folder = self.folder.display();
            tracing::warn!(%folder, "cannot cache compiled code, so the next start compiles it again: {reason}");
        }
    }

    /// Stores functions for the next version of a plugin, unless they would take much of the room for code. A failure only makes
    /// its deployment slower.
    pub fn store_functions(&self, name: &EntryName, functions: &[u8]) {
        if functions.len() as u64 > self.max_bytes / 8 {
            return;
        }
        if let Err(error) = self.write(name, &self.path(name, FUNCTIONS), &[], functions) {
            tracing::debug!(%error, folder = %self.folder.display(), "functions are not kept");
        }
    }

    /// Remembers a few bytes about something that was done and need not be done again at the next start.
    pub fn remember(&self, name: &EntryName, bytes: &[u8]) {
        if let Err(error) = self.write(name, &self.path(name, DONE), &[], bytes) {
            let folder = self.folder.display();
            tracing::info!(%folder, "the cache cannot be written, so the next start does again what this one did: {error}");
        }
    }

    /// What [`CompiledCache::remember`] got, in a process with the same key.
    pub fn remembered(&self, name: &EntryName) -> Option<Vec<u8>> {
        self.open_entry(name, &self.path(name, DONE), |_, bytes| Ok(bytes.to_vec()))
    }

    /// Returns true if there is an entry, which may be damaged.
    pub fn contains(&self, name: &EntryName) -> bool {
        self.path(name, CODE).is_file()
    }

    fn path(&self, name: &EntryName, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", name.0))
    }

    /// Writes an entry: its authentication code, the length of the note (its metadata), the note, the code.
    fn write(&self, name: &EntryName, path: &Path, note: &[u8], code: &[u8]) -> io::Result<()> {
        let length = u32::try_from(note.len()).map_err(io::Error::other)?.to_le_bytes();
        let mac = self.mac(name, &[&length, note, code]).finalize().into_bytes();
        // Without `sync`: an entry that a power failure cuts off is compiled again.
        Draft::create(path)?.write(&[&mac, &length, note, code])?.publish(path)?;
        let bytes = (mac.len() + length.len() + note.len() + code.len()) as u64;
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        *room = match room.checked_sub(bytes) {
            Some(room) => room,
            None => self.prune(path)?,
        };
        Ok(())
    }

    #[expect(clippy::expect_used, reason = "HMAC accepts keys of any length")]
    fn mac(&self, name: &EntryName, parts: &[&[u8]]) -> Authenticator {
        let mut mac = Authenticator::new_from_slice(&self.key).expect("HMAC accepts keys of any length");
        mac.update(name.0.as_bytes());
        for part in parts {
            mac.update(part);
        }
        mac
    }

    fn authenticate<'a>(&self, name: &EntryName, bytes: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), EntryError> {
        let short = || EntryError::Truncated;
        let (mac, rest) = bytes.split_at_checked(MAC_BYTES).ok_or_else(short)?;
        self.mac(name, &[rest]).verify_slice(mac).map_err(|_| EntryError::Foreign)?;
        let (length, rest) = rest.split_first_chunk::<LENGTH_BYTES>().ok_or_else(short)?;
        rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(short)
    }

    /// Removes functions, for code also the least recently used code, and then what was done, until the rest fits into the limit, and
    /// drafts of processes that died. Returns how many bytes may be written until the next time: few, because other processes may
    /// write, too.
    fn prune(&self, keep: &Path) -> io::Result<u64> {
        remove_dead_drafts(&self.folder);
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let has = |ending: &str| path.extension().is_some_and(|extension| extension == ending);
            let rank = [FUNCTIONS, CODE, DONE].into_iter().position(has).filter(|_| path != keep);
            // Another process may have removed it.
            let (Some(rank), Ok(metadata)) = (rank, fs::metadata(&path)) else { continue };
            entries.push((rank, metadata.modified()?, metadata.len(), path));
        }
        entries.sort();
        let kept = fs::metadata(keep).map_or(0, |metadata| metadata.len());
        let mut total: u64 = entries.iter().map(|(_, _, bytes, _)| bytes).sum::<u64>() + kept;
        let is_for_functions = keep.extension().is_some_and(|extension| extension == FUNCTIONS);
        for (rank, _, bytes, path) in entries {
            if total <= self.max_bytes {
                break;
            }
            if rank > 0 && is_for_functions {
                total -= kept;
                let _ = fs::remove_file(keep);
                break;
            }
            total -= bytes;
            let _ = fs::remove_file(path);
        }
        Ok(self.max_bytes.saturating_sub(total).min(self.max_bytes / PRUNES))
    }
}
