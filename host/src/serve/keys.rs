//! The keys of callers (`[auth]`): a file of names and of the SHA-256 of their keys. The file is read again when it
//! changes. If it cannot be read then, the keys stay as they were.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::http::HeaderMap;
use plimsoll_runtime::identity::hex;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::credentials::{Failure, api_key};
use crate::base::files;
use crate::base::watched_files::WatchedFiles;
use crate::config::{Config, ConfigError};

/// The prefix of a hash in the file.
const HASH: &str = "sha256:";
/// The prefix of a key, by which programs that look for published secrets recognise it.
const KEY: &str = "plimsoll_";
/// Maximum length of a name.
const MAX_NAME: usize = 64;

/// The SHA-256 of a key.
type KeyHash = [u8; 32];

/// The names of callers by the hashes of their keys.
type Names = HashMap<KeyHash, Arc<str>>;

/// The keys of callers.
pub struct Keys {
    file: WatchedFiles,
    names: ArcSwap<Names>,
}

impl Keys {
    /// Reads the keys. `None` if callers need none.
    ///
    /// # Errors
    /// If the file cannot be read, or a line of it is not valid.
    pub fn configured(config: &Config) -> Result<Option<Arc<Self>>, ConfigError> {
        let Some(path) = &config.auth.keys_file else { return Ok(None) };
        let path = config.resolve(path);
        let file = WatchedFiles::new(vec![path.clone()]);
        let names = read(&path).map_err(|reason| ConfigError::new(&config.path, "auth.keys_file", reason))?;
        if names.is_empty() {
            tracing::warn!("{} has no key, so no caller is let in; `plimsoll key new NAME` makes one", path.display());
        }
        Ok(Some(Arc::new(Self { file, names: ArcSwap::from_pointee(names) })))
    }

    /// Returns the name of the caller that a request's key belongs to.
    ///
    /// # Errors
    /// If there is no key, or it is not known.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<Arc<str>, Failure> {
        let given = api_key(headers).ok_or(Failure::Missing)?;
        let digest: KeyHash = Sha256::digest(given).into();
        // The time of the search depends on the digest only, from which nobody can conclude a key; and the digests are
        // compared in constant time.
        let names = self.names.load();
        let (known, name) = names.get_key_value(&digest).ok_or(Failure::Wrong)?;
        if bool::from(known.ct_eq(&digest)) { Ok(Arc::clone(name)) } else { Err(Failure::Wrong) }
    }

    /// Reads the file again if it has changed.
    pub(super) fn refresh(&self) {
        if !self.file.have_changed() {
            return;
        }
        for path in self.file.paths() {
            match read(path) {
                Ok(names) => {
                    tracing::info!(target: "plimsoll::audit", action = "keys", keys = names.len(), "change");
                    self.names.store(Arc::new(names));
                }
                Err(reason) => tracing::error!("{reason}; the keys of callers stay as they were"),
            }
        }
    }
}

/// A new key, and its line in the file.
///
/// # Errors
/// If the name is not valid, or the system has no random bytes.
pub fn new_key(name: &str) -> Result<(String, String), String> {
    check_name(name)?;
    let secret = crate::base::secrets::random().map_err(|error| format!("no random bytes: {error}"))?;
    let key = format!("{KEY}{secret}");
    let line = format!("{name} {HASH}{}", hex(&Sha256::digest(&key)));
    Ok((key, line))
}

fn check_name(name: &str) -> Result<(), String> {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte);
    match (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_valid) {
        true => Ok(()),
        false => Err(format!("a caller's name has 1 to {MAX_NAME} letters, digits and the characters . _ @ + -")),
    }
}

fn read(path: &Path) -> Result<Names, String> {
    let text = files::read_settings(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    parse(&text).map_err(|(line, reason)| format!("{}:{line}: {reason}", path.display()))
}

/// Parses the lines `NAME sha256:HASH`. A `#` begins a comment. An error has the number of its line.
fn parse(text: &str) -> Result<Names, (usize, String)> {
    let mut names = Names::new();
    for (line, number) in text.lines().zip(1..) {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(name) = words.next() else { continue };
        let told = |reason: &str| (number, reason.to_owned());
        check_name(name).map_err(|reason| (number, reason))?;
        let hash = words.next().and_then(|word| word.strip_prefix(HASH)).and_then(hash);
        // The line is not shown, because it may have a key instead of its hash.
        let hash = hash.ok_or_else(|| {
            told("a line is NAME sha256:HASH with 64 hexadecimal digits; `plimsoll key new NAME` prints one")
        })?;
        if words.next().is_some() {
            return Err(told("there is more than a name and a hash; `#` begins a comment"));
        }
        if names.insert(hash, name.into()).is_some() {
            return Err(told("an earlier line has the same hash; every key needs its own"));
        }
    }
    Ok(names)
}

fn hash(digits: &str) -> Option<KeyHash> {
    let mut hash = [0; 32];
    if digits.len() != 2 * hash.len() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_and_its_line_belong_together() {
        let (key, line) = new_key("acme").expect("a valid name");
        let names = parse(&format!("# comment\n\n{line}  # until 2027\n")).expect("a valid file");
        let digest: KeyHash = Sha256::digest(&key).into();
        assert_eq!(names.get(&digest).map(|name| &**name), Some("acme"));
        assert!(!line.contains(&key) && key.len() > 40, "{key} {line}");
        assert!(new_key("a b").is_err() && new_key("").is_err() && new_key(&"a".repeat(65)).is_err());
    }

    #[test]
    fn a_mistake_is_told_with_its_line_and_without_the_key() {
        let hash = "0".repeat(64);
        for (line, words) in [
            ("acme plimsoll_secret".to_owned(), "sha256:HASH"),
            ("acme".to_owned(), "sha256:HASH"),
            (format!("acme sha256:{}é", "0".repeat(62)), "sha256:HASH"),
            (format!("a\u{1b}b sha256:{hash}"), "letters"),
            (format!("acme sha256:{hash} more"), "more than"),
            (format!("acme sha256:{hash}\nother sha256:{hash}"), "same hash"),
        ] {
            let (number, reason) = parse(&format!("\n{line}")).expect_err("not valid");
            assert_eq!(number, 1 + line.lines().count());
            assert!(reason.contains(words) && !reason.contains("plimsoll_secret"), "{reason}");
        }
    }
}
