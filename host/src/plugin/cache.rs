//! The cache of compiled code: what was compiled once is not compiled at the next start.
//!
//! wasmtime checks the version of a compiled artifact only by its major number, and loading foreign bytes is running
//! foreign code. So an entry is named by all that its code depends on (the component, the engine's settings and
//! wasmtime's version, and for a snapshot what `init` saw), lies in a folder that only its owner can write to, and is
//! authenticated by HMAC-SHA-256 (RFC 2104) under a key in that folder. On any doubt it is compiled again.

use std::fs::{self, File, OpenOptions, Permissions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::artifact::hex;

type Authenticator = Hmac<Sha256>;

const MAC_BYTES: usize = 32;
const LENGTH_BYTES: usize = 4;
const KEY_FILE: &str = "key";
/// Written by other programs of the same user only by mistake; still nobody else may write here.
const OTHERS_MAY_WRITE: u32 = 0o022;

/// A folder of compiled code.
pub struct CompiledCache {
    folder: PathBuf,
    key: [u8; 32],
    max_bytes: u64,
}

/// The name of an entry: a digest of everything that the code depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryName(String);

/// What is kept beside the code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Why `init` has to run in every instance, where it has to.
    pub init_each: Option<String>,
}

impl EntryName {
    /// The name for code of `engine` that depends on `parts`, in their order.
    pub fn new<'a>(engine: &Engine, parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut digest = Digester(Sha256::new());
        env!("CARGO_PKG_VERSION").hash(&mut digest);
        engine.precompile_compatibility_hash().hash(&mut digest);
        for part in parts {
            // With its length, so that no two lists of parts are the same bytes.
            digest.write(&(part.len() as u64).to_le_bytes());
            digest.write(part);
        }
        Self(hex(&digest.0.finalize()))
    }
}

impl CompiledCache {
    /// Opens the folder, and makes it where it is missing. `max_bytes` bounds what it holds.
    ///
    /// # Errors
    /// When it cannot be made, or somebody else could write to it; the mend stands in the message.
    pub fn open(folder: &Path, max_bytes: u64) -> Result<Self, String> {
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", folder.display());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| told(&error))?;
        let metadata = fs::metadata(folder).map_err(|error| told(&error))?;
        if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & OTHERS_MAY_WRITE != 0 {
            return Err(told(&"others could put code there; make it this user's own and `chmod 700` it"));
        }
        let key = read_or_make_key(&folder.join(KEY_FILE)).map_err(|error| told(&error))?;
        Ok(Self { folder: folder.to_owned(), key, max_bytes })
    }

    /// The code of an entry, or `None` where there is none that can be trusted.
    pub fn load(&self, engine: &Engine, name: &EntryName) -> Option<(Note, Component)> {
        let path = self.path(name);
        let bytes = fs::read(&path).ok()?;
        let found = self.authenticate(name, &bytes).and_then(|(note, code)| {
            let note = serde_json::from_slice(note).map_err(|error| error.to_string())?;
            let component = load_trusted(engine, code).map_err(|error| format!("{error:#}"))?;
            Ok((note, component))
        });
        match found {
            Ok(found) => {
                // Its time of change is its time of use: what goes first when the cache is full.
                let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
                Some(found)
            }
            Err(reason) => {
                tracing::warn!(entry = %path.display(), "an entry of the compiled cache is not used: {reason}");
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    /// Keeps compiled code. A failure costs only the next start's time and is logged.
    pub fn store(&self, name: &EntryName, note: &Note, component: &Component) {
        let written = component.serialize().map_err(|error| format!("{error:#}")).and_then(|code| {
            let note = serde_json::to_vec(note).expect("a text");
            self.write(name, &note, &code).map_err(|error| error.to_string())
        });
        if let Err(reason) = written {
            tracing::warn!(folder = %self.folder.display(), "compiled code is not cached: {reason}");
        }
    }

    fn path(&self, name: &EntryName) -> PathBuf {
        self.folder.join(format!("{}.cwasm", name.0))
    }

    /// An entry is its authentication code, the note's length, the note, the code.
    fn write(&self, name: &EntryName, note: &[u8], code: &[u8]) -> io::Result<()> {
        let length = u32::try_from(note.len()).expect("a short text").to_le_bytes();
        let mac = self.mac(name, &[&length, note, code]).finalize().into_bytes();
        let path = self.path(name);
        // Named by the process, so that two of them never write to one file; the rename is atomic.
        let draft = path.with_extension(format!("{}.tmp", std::process::id()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        for part in [&mac[..], &length, note, code] {
            file.write_all(part)?;
        }
        fs::rename(&draft, &path)?;
        self.prune(&path)
    }

    fn mac(&self, name: &EntryName, parts: &[&[u8]]) -> Authenticator {
        let mut mac = Authenticator::new_from_slice(&self.key).expect("a key of any length will do");
        mac.update(name.0.as_bytes());
        for part in parts {
            mac.update(part);
        }
        mac
    }

    fn authenticate<'a>(&self, name: &EntryName, bytes: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), String> {
        let short = || "it is truncated".to_owned();
        let (mac, rest) = bytes.split_at_checked(MAC_BYTES).ok_or_else(short)?;
        self.mac(name, &[rest]).verify_slice(mac).map_err(|_| "it is not what this cache has written".to_owned())?;
        let (length, rest) = rest.split_first_chunk::<LENGTH_BYTES>().ok_or_else(short)?;
        rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(short)
    }

    /// Removes the least recently used entries (and drafts of processes that died) until the rest fits.
    fn prune(&self, keep: &Path) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let extension = entry.path().extension().map(|extension| extension.to_os_string());
            if extension.is_some_and(|extension| extension == "cwasm" || extension == "tmp") && entry.path() != keep {
                let metadata = entry.metadata()?;
                entries.push((metadata.modified()?, metadata.len(), entry.path()));
            }
        }
        entries.sort();
        let mut total: u64 = entries.iter().map(|(_, bytes, _)| bytes).sum::<u64>() + fs::metadata(keep)?.len();
        for (_, bytes, path) in entries {
            if total <= self.max_bytes {
                break;
            }
            total -= bytes;
            // Another process may have removed it already.
            let _ = fs::remove_file(path);
        }
        Ok(())
    }
}

/// The one place where compiled code enters the process other than from the compiler.
#[allow(unsafe_code, reason = "measured by the bench `deploy`: 47 ms instead of 1.8 s for `image-preprocess`")]
fn load_trusted(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize` demands bytes that `Component::serialize` of this version of wasmtime gave. The caller
    // has authenticated them under a key that only this user can read, together with a name that holds the hash of
    // wasmtime's version and of the engine's settings; and they are in memory, so nobody changes them after the check.
    unsafe { Component::deserialize(engine, code) }
}

fn read_or_make_key(path: &Path) -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    match File::open(path) {
        Ok(mut file) => {
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.read_exact(&mut key)?;
            return Ok(key);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // Two random UUIDs have 244 random bits from the operating system.
    key[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    key[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    let draft = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(&key)?;
    // The first of two processes wins, and the other reads its key.
    match fs::hard_link(&draft, path) {
        Ok(()) => fs::remove_file(&draft)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(&draft)?;
            return read_or_make_key(path);
        }
        Err(error) => return Err(error),
    }
    Ok(key)
}

/// Lets anything that can be hashed be digested by SHA-256.
struct Digester(Sha256);

impl Hasher for Digester {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        unreachable!("the digest itself is what is used")
    }
}
