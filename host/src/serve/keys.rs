//! The keys of callers (`[auth]`): a file of names and of the SHA-256 of their keys. The file is read again when it
//! changes. If it cannot be read then, the previous keys stay valid.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::http::HeaderMap;
use plimsoll_runtime::identity::hex;
use sha2::{Digest, Sha256};

use super::credentials::{Failure, SecretHash, api_key, is_same};
use crate::base::watched_files::WatchedFiles;
use crate::base::{files, secrets};
use crate::config::{Config, ConfigError};

/// The prefix of a hash in the file.
const HASH: &str = "sha256:";
/// The prefix of a key, by which programs that look for published secrets recognise it.
const KEY: &str = "plimsoll_";
/// Maximum length of a name.
const MAX_NAME: usize = 64;

/// Why a key cannot be made, or the file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The name of a caller is not valid.
    #[error("a caller's name has 1 to {MAX_NAME} letters, digits and the characters . _ @ + -")]
    Name,
    /// The system has no random bytes.
    #[error("the operating system returned no random bytes: {0}")]
    Random(io::Error),
    /// The file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// A line has no hash.
    #[error("a line is NAME sha256:HASH with 64 hexadecimal digits; `plimsoll key new NAME` prints one")]
    NoHash,
    /// A line has more words.
    #[error("there is more than a name and a hash; `#` begins a comment")]
    MoreWords,
    /// Two lines have the same hash.
    #[error("an earlier line has the same hash; every key needs its own")]
    SameHash,
    /// A line of the file is not valid.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: Box<KeysError>,
    },
}

/// The names of callers by the hashes of their keys.
type Names = HashMap<SecretHash, Arc<str>>;

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
            tracing::warn!(
                "{} has no key, so every request is refused; `plimsoll key new NAME` makes a key",
                path.display()
            );
        }
        Ok(Some(Arc::new(Self { file, names: ArcSwap::from_pointee(names) })))
    }

    /// Returns the name of the caller that a request's key belongs to.
    ///
    /// # Errors
    /// If there is no key, or it is not known, or there are two different ones.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<Arc<str>, Failure> {
        let given = api_key(headers)?.ok_or(Failure::Missing)?;
        let digest: SecretHash = Sha256::digest(given).into();
        // The time of the search depends only on the digest, which does not reveal the key; and the digests are
        // compared in constant time.
        let names = self.names.load();
        let (known, name) = names.get_key_value(&digest).ok_or(Failure::Wrong)?;
        if is_same(known, &digest) { Ok(Arc::clone(name)) } else { Err(Failure::Wrong) }
    }

    /// Reads the file again if it has changed.
    pub(super) fn refresh(&self) {
        match self.file.read_if_changed(|paths| read(&paths[0])) {
            Some(Ok(names)) => {
                tracing::info!(target: "plimsoll::audit", action = "keys", keys = names.len(), "change");
                self.names.store(Arc::new(names));
            }
            Some(Err(reason)) => {
                tracing::error!("{reason}; the previous keys of callers stay valid, and the file is tried again")
            }
            None => {}
        }
    }
}

/// A new key, and its line in the file.
///
/// # Errors
/// If the name is not valid, or the system has no random bytes.
pub fn new_key(name: &str) -> Result<(String, String), KeysError> {
    check_name(name)?;
    let secret = secrets::random().map_err(KeysError::Random)?;
    let key = format!("{KEY}{secret}");
    let line = format!("{name} {HASH}{}", hex(&Sha256::digest(&key)));
    Ok((key, line))
}

fn check_name(name: &str) -> Result<(), KeysError> {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte);
    match (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_valid) {
        true => Ok(()),
        false => Err(KeysError::Name),
    }
}

fn read(path: &Path) -> Result<Names, KeysError> {
    let text = files::read_settings(path).map_err(|error| KeysError::File { path: path.to_owned(), error })?;
    parse(&text).map_err(|(line, reason)| KeysError::Line { path: path.to_owned(), line, reason: Box::new(reason) })
}

/// Parses the lines `NAME sha256:HASH`. A `#` begins a comment. An error has the number of its line.
fn parse(text: &str) -> Result<Names, (usize, KeysError)> {
    let mut names = Names::new();
    for (line, number) in text.lines().zip(1..) {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(name) = words.next() else { continue };
        let at_line = |reason| (number, reason);
        check_name(name).map_err(at_line)?;
        let hash = words.next().and_then(|word| word.strip_prefix(HASH)).and_then(hash);
        // The line is not shown, because it may have a key instead of its hash.
        let hash = hash.ok_or_else(|| at_line(KeysError::NoHash))?;
        if words.next().is_some() {
            return Err(at_line(KeysError::MoreWords));
        }
        if names.insert(hash, name.into()).is_some() {
            return Err(at_line(KeysError::SameHash));
        }
    }
    Ok(names)
}

fn hash(digits: &str) -> Option<SecretHash> {
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
        let digest: SecretHash = Sha256::digest(&key).into();
        assert_eq!(names.get(&digest).map(|name| &**name), Some("acme"));
        assert!(!line.contains(&key) && key.len() > 40, "{key} {line}");
        assert!(new_key("a b").is_err() && new_key("").is_err() && new_key(&"a".repeat(65)).is_err());
    }

    #[test]
    fn an_error_has_its_line_and_not_the_key() {
        let hash = "0".repeat(64);
        for (line, words) in [
            ("acme plimsoll_secret".to_owned(), "sha256:HASH"),
            ("acme".to_owned(), "sha256:HASH"),
            (format!("acme sha256:{}é", "0".repeat(62)), "sha256:HASH"),
            (format!("a\u{1b}b sha256:{hash}"), "letters"),
            (format!("acme sha256:{hash} more"), "more than"),
            (format!("acme sha256:{hash}\nother sha256:{hash}"), "same hash"),
        ] {
            let (number, error) = parse(&format!("\n{line}")).expect_err("not valid");
            let reason = error.to_string();
            assert_eq!(number, 1 + line.lines().count());
            assert!(reason.contains(words) && !reason.contains("plimsoll_secret"), "{reason}");
        }
    }
}
