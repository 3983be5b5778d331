//! The token of administration (RFC 6750). Without a configured token the server makes one and keeps it in the data
//! folder, where only the user that runs the server can read it; the commands of this user find it there.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use plimsoll_runtime::identity::hex;
use sha2::{Digest, Sha256};

use super::credentials::{Failure, SecretHash, bearer, is_same};
use crate::base::files::without_mark;
use crate::base::secrets::{self, Kept};
use crate::config::{Config, ConfigError, TOKEN_FILE, TOKEN_VARIABLE};

/// Minimum characters of a token, because a shorter one could be guessed.
const MIN_TOKEN: usize = 16;

/// The requests that may administrate over HTTP and gRPC.
pub struct Access {
    /// The SHA-256 of the token. Without it no request may administrate.
    token: OnceLock<SecretHash>,
    /// What the servers of a fleet ask each other with. It is derived from the token, and opens nothing but the report of
    /// canaries.
    fleet_key: Option<String>,
    /// Where the token is, for the log; or why there is none.
    place: String,
    /// Where the token is, for clients: without a path of this machine.
    hint: &'static str,
    /// The token that could not be made at the start, for example because the disk was full.
    missing: Option<Missing>,
}

/// A token that could not be made, and when this was last tried.
struct Missing {
    path: PathBuf,
    tried: Mutex<Instant>,
}

/// How often a token that could not be made is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Where clients find the token that the server made.
const IN_DATA_FOLDER: &str =
    "in the file `admin-token` of the server's data folder (`.plimsoll` unless `data_dir` is set)";

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.token.get() {
            Some(_) => write!(f, "administration: needs the token in {}", self.place),
            None => write!(f, "administration: closed, because {}", self.place),
        }
    }
}

impl Access {
    /// Reads the token from the configured file or from the environment variable. `None` if neither is set.
    ///
    /// # Errors
    /// If the file cannot be read, or the token is too short.
    pub fn configured(config: &Config) -> Result<Option<Self>, ConfigError> {
        let failed = |reason: String| ConfigError::new(&config.path, "admin.token_file", reason);
        let (text, place, hint) = if let Some(path) = &config.admin.token_file {
            let text = String::from_utf8(without_mark(config.read(path).map_err(|error| failed(error.to_string()))?));
            let text = text.map_err(|_| failed(format!("{} is not a text file", path.display())))?;
            let path = config.resolve(path);
            if secrets::is_readable_by_all(&path) {
                let path = path.display();
                tracing::warn!("every user of this machine can read the administration token; run `chmod 600 {path}`");
            }
            (text, path.display().to_string(), "in the file that `[admin] token_file` names")
        } else {
            // Some tools unset a variable by setting it to an empty text.
            let text = std::env::var(TOKEN_VARIABLE).unwrap_or_default();
            if text.is_empty() {
                return Ok(None);
            }
            (text, format!("the variable {TOKEN_VARIABLE}"), "in the server's variable PLIMSOLL_ADMIN_TOKEN")
        };
        let token = text.trim();
        if token.len() < MIN_TOKEN {
            let key = if config.admin.token_file.is_some() { "admin.token_file" } else { TOKEN_VARIABLE };
            let reason = format!(
                "the administration token is too short, so it can be guessed; use at least {MIN_TOKEN} characters, for \
                 example those of `openssl rand -hex 32`"
            );
            return Err(ConfigError::new(&config.path, key, reason));
        }
        Ok(Some(Self::with(token, place, hint)))
    }

    /// Reads the token in the data folder, or creates it. If that is not possible, no request may administrate.
    pub fn kept(folder: &Path) -> Self {
        let path = folder.join(TOKEN_FILE);
        let place = path.display().to_string();
        match secrets::keep(&path) {
            Ok((token, kept)) => {
                if kept == Kept::Replaced {
                    tracing::warn!(
                        "{place} was incomplete or of another user, or other users could read it; a new administration \
                         token was written to it, which only its owner can read"
                    );
                }
                Self::with(&token, place, IN_DATA_FOLDER)
            }
            Err(error) => {
                let why = format!(
                    "{place} cannot be read or written: {error}; the server tries again. Correct the cause, or set \
                     `[admin] token_file` or {TOKEN_VARIABLE} and start again"
                );
                Self { missing: Some(Missing { path, tried: Mutex::new(Instant::now()) }), ..Self::closed(why) }
            }
        }
    }

    fn with(token: &str, place: String, hint: &'static str) -> Self {
        let fleet_key = Some(hex(&Sha256::digest(format!("plimsoll fleet\0{token}"))));
        Self { token: OnceLock::from(SecretHash::from(Sha256::digest(token))), fleet_key, place, hint, missing: None }
    }

    /// Returns true if there is a token, so that requests can administrate.
    pub fn is_open(&self) -> bool {
        self.token.get().is_some()
    }

    /// The digest of the token. A token that could not be made is tried again, but not for every request.
    fn token(&self) -> Option<&SecretHash> {
        if let (None, Some(missing)) = (self.token.get(), &self.missing)
            && let Ok(mut tried) = missing.tried.try_lock()
            && tried.elapsed() >= RETRY
        {
            *tried = Instant::now();
            if let Ok((token, _)) = secrets::keep(&missing.path) {
                tracing::info!("administration: needs the token in {}, which was created now", missing.path.display());
                let _ = self.token.set(Sha256::digest(token).into());
            }
        }
        self.token.get()
    }

    /// No request may administrate.
    pub fn closed(why: impl Into<String>) -> Self {
        Self { token: OnceLock::new(), fleet_key: None, place: why.into(), hint: IN_DATA_FOLDER, missing: None }
    }

    /// Checks the token of a request.
    ///
    /// # Errors
    /// If there is no token, or it is not the right one.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let expected = self.token();
        let given = bearer(headers).ok_or(Failure::Missing)?;
        let expected = expected.ok_or(Failure::Wrong)?;
        let digest: SecretHash = Sha256::digest(given).into();
        if is_same(&digest, expected) { Ok(()) } else { Err(Failure::Wrong) }
    }

    /// What the servers of a fleet ask each other with; `None` if there is no token yet.
    pub(super) fn fleet_key(&self) -> Option<&str> {
        self.fleet_key.as_deref()
    }

    /// Checks the key of another server of the fleet. The token is right, too.
    ///
    /// # Errors
    /// If there is no token, or it is not the right one.
    pub(super) fn check_member(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let is_member = |key: &String| {
            let given = bearer(headers)?;
            let hashes = [key.as_str(), given].map(|text| SecretHash::from(Sha256::digest(text)));
            Some(is_same(&hashes[0], &hashes[1]))
        };
        if self.fleet_key.as_ref().and_then(is_member) == Some(true) { Ok(()) } else { self.check(headers) }
    }

    /// The message for a request whose token is missing or wrong.
    pub(super) fn refusal(&self, failure: Failure) -> String {
        let hint = self.hint;
        match (self.token.get(), failure) {
            (None, _) => "administration is closed, because the server has no token; its log says why".to_owned(),
            (_, Failure::Missing) => format!(
                "this route needs the header `Authorization: Bearer TOKEN` with the administration token, which is {hint}"
            ),
            (_, Failure::Wrong | Failure::Ambiguous) => {
                format!("this is not the administration token, which is {hint}")
            }
        }
    }
}
