//! Random secrets, and files for secrets.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::files::read_start;

/// Random bytes of a secret.
const RANDOM: usize = 32;
/// The permissions of the group and of all other users.
const OF_OTHERS: u32 = 0o077;
/// Characters of a secret.
const LENGTH: usize = (RANDOM * 4).div_ceil(3);

/// How [`keep`] found the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It was in the file.
    Found,
    /// There was no file, so it was made now.
    Created,
    /// Another user wrote the file, or could read or change it, or it was cut off, so a new secret was made.
    Replaced,
}

/// Makes a random secret in base64url.
///
/// # Errors
/// If the system has no random bytes.
pub fn random() -> io::Result<String> {
    let mut bytes = [0; RANDOM];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Reads a secret from a file that only its owner can read. If there is no such file, makes a secret and writes it. Only
/// one process may do this at a time.
///
/// # Errors
/// If the file cannot be read or written, or the name belongs to something else than a regular file.
pub fn keep(path: &Path) -> io::Result<(String, Kept)> {
    // Reads only the start, because a file with other content may be large.
    let (found, kept) = match read_start(path, LENGTH as u64 * 4) {
        Ok((bytes, metadata)) => {
            // A user who made the file before the first start knows what is in it.
            let is_own = metadata.uid() == rustix::process::geteuid().as_raw() || metadata.uid() == 0;
            let is_secret = is_own && metadata.mode() & OF_OTHERS == 0;
            let text = String::from_utf8(bytes).ok().filter(|_| is_secret).unwrap_or_default();
            (Some(text.trim().to_owned()).filter(|text| text.len() >= LENGTH), Kept::Replaced)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => (None, Kept::Created),
        Err(error) => return Err(error),
    };
    if let Some(secret) = found {
        return Ok((secret, Kept::Found));
    }
    let secret = random()?;
    write(path, &secret)?;
    Ok((secret, kept))
}

/// Writes a file that only its owner can read. A reader sees the whole secret, or the old one.
fn write(path: &Path, secret: &str) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let written = fs::remove_file(&draft)
        .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
        .and_then(|()| OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft))
        .and_then(|mut file| {
            writeln!(file, "{secret}")?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written
}

/// Returns true if users other than the owner and its group can read a file.
pub fn is_readable_by_all(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.mode() & 0o004 != 0)
}
