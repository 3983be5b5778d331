//! Compiled functions that are kept while stages are built. A component that runs `init` is compiled twice, with nearly the
//! same functions; new versions of a plugin share most of theirs with the version before, and many plugins share those of
//! their libraries. Cranelift finds a function by a digest (SHA-256) of its intermediate code, its target and all settings.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use wasmtime::CacheStore;

/// Maximum bytes of the functions. Those of CPython and its libraries have about 100 MiB.
const MAX_BYTES: usize = 128 << 20;
/// Bytes of a key.
const KEY: usize = 32;
/// Functions are worth keeping again if more than one of so many bytes was compiled. About a sixth gets other keys at each
/// compilation, though its code is the same.
const FEW: usize = 2;
/// Bytes of a length in [`FunctionCache::used`].
const LENGTH: usize = 4;

type Key = [u8; KEY];

/// The functions of one engine; see [`wasmtime::Config::enable_incremental_compilation`].
#[derive(Debug, Default)]
pub struct FunctionCache {
    functions: Mutex<Functions>,
}

#[derive(Debug, Default)]
struct Functions {
    by_key: HashMap<Key, Box<[u8]>>,
    bytes: usize,
    /// The functions that were compiled or found since the last [`FunctionCache::begin`].
    used: HashSet<Key>,
    /// Bytes of those of them that were compiled.
    compiled_bytes: usize,
    /// True if nothing was cleared since the last [`FunctionCache::begin`].
    is_complete: bool,
}

impl FunctionCache {
    /// Forgets all functions, which frees their memory.
    pub fn clear(&self) {
        *self.functions() = Functions::default();
    }

    /// Bytes of the functions, without their keys.
    pub fn bytes(&self) -> usize {
        self.functions().bytes
    }

    /// Begins to note which functions are used.
    pub fn begin(&self) {
        let mut kept = self.functions();
        kept.used.clear();
        kept.compiled_bytes = 0;
        kept.is_complete = true;
    }

    /// Adds functions that [`FunctionCache::used`] returned.
    pub fn add(&self, mut functions: &[u8]) {
        let mut kept = self.functions();
        while let Some((key, rest)) = functions.split_first_chunk::<KEY>()
            && let Some((length, rest)) = rest.split_first_chunk::<LENGTH>()
            && let Some((function, rest)) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)
        {
            kept.insert(*key, function);
            functions = rest;
        }
    }

    /// The functions that were compiled or found since [`FunctionCache::begin`]: of each its key, its length and its bytes.
    /// `None` if most of them were found, or not all of them are here.
    pub fn used(&self) -> Option<Vec<u8>> {
        let kept = self.functions();
        let used = || kept.used.iter().filter_map(|key| kept.by_key.get_key_value(key));
        let bytes: usize = used().map(|(_, function)| function.len()).sum();
        if !kept.is_complete || kept.compiled_bytes <= bytes / FEW || used().count() < kept.used.len() {
            return None;
        }
        let mut functions = Vec::with_capacity(bytes + kept.used.len() * (KEY + LENGTH));
        for (key, function) in used() {
            functions.extend(key);
            functions.extend((function.len() as u32).to_le_bytes());
            functions.extend(function);
        }
        Some(functions)
    }

    fn functions(&self) -> MutexGuard<'_, Functions> {
        self.functions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Functions {
    /// Returns false if there is no room.
    fn insert(&mut self, key: Key, function: &[u8]) -> bool {
        let bytes = self.bytes + function.len();
        if bytes > MAX_BYTES {
            return false;
        }
        if self.by_key.insert(key, function.into()).is_none() {
            self.bytes = bytes;
        }
        true
    }
}

impl CacheStore for FunctionCache {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        let key = Key::try_from(key).ok()?;
        let mut kept = self.functions();
        let function = kept.by_key.get(&key)?.to_vec();
        kept.used.insert(key);
        Some(Cow::Owned(function))
    }

    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool {
        let Ok(key) = Key::try_from(key) else { return false };
        let mut kept = self.functions();
        kept.used.insert(key);
        kept.compiled_bytes += value.len();
        // A function without room is compiled again.
        kept.insert(key, &value)
    }
}
