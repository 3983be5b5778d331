//! The content of the journal: the versions of every plugin, and the files that were handled.
//!
//! The file has the number of its format, so that a later format is not misread, and a digest of its content, so that
//! damage is found. A journal without them is one of an earlier release, with format 1.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use plimsoll_runtime::identity::digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::file_fingerprint::FileFingerprint;
use super::folder_look::KnownFolders;
use super::release::{Release, ReleaseSource};

/// The format that this program reads and writes. It changes if an older program would misread the file.
const FORMAT: u64 = 1;
/// The key of the format's number.
const FORMAT_KEY: &str = "format";
/// The key of the digest of everything else in the file.
const DIGEST_KEY: &str = "sha256";

/// Why a text is not the content of a journal.
#[derive(Debug, thiserror::Error)]
pub enum InvalidState {
    /// A later version of this program wrote it.
    #[error(
        "it has format {found}, and this version of plimsoll reads format {FORMAT}: start the version of plimsoll that \
         wrote it"
    )]
    Format {
        /// The format.
        found: Value,
    },
    /// The digest in it is another one.
    #[error("it was changed or damaged: its content does not have the digest in it (`{DIGEST_KEY}`)")]
    Damaged,
    /// A line does not have the digest at its beginning.
    #[error(
        "it was changed or damaged: line {number} does not have the digest at its beginning, or a line before it is gone"
    )]
    DamagedLine {
        /// The number of the line, from 1.
        number: usize,
    },
    /// It is not JSON, or has other keys and values.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// The journal's content.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JournalState {
    /// The records by plugin.
    pub plugins: BTreeMap<String, PluginRecord>,
    /// The folders in which component files were found.
    #[serde(default)]
    pub folders: KnownFolders,
}

impl JournalState {
    /// Reads the content of a file.
    ///
    /// # Errors
    /// If it is not a journal, has a later format, or is damaged.
    pub fn parse(text: &[u8]) -> Result<Self, InvalidState> {
        Self::parse_with_digest(text).map(|(state, _)| state)
    }

    /// As [`Self::parse`], with the digest in the file, which is correct.
    pub(super) fn parse_with_digest(text: &[u8]) -> Result<(Self, Option<String>), InvalidState> {
        let mut digest = None;
        let mut file: Value = serde_json::from_slice(text)?;
        if let Some(keys) = file.as_object_mut() {
            if let Some(found) = keys.get(FORMAT_KEY).filter(|found| **found != FORMAT) {
                return Err(InvalidState::Format { found: found.clone() });
            }
            if let Some(expected) = keys.remove(DIGEST_KEY) {
                digest = Some(digest_of(&file)?);
                if expected.as_str() != digest.as_deref() {
                    return Err(InvalidState::Damaged);
                }
            }
        }
        // From the text, because its errors have a line.
        Ok((serde_json::from_slice(text)?, digest))
    }

    /// The content of a file with this state, which is one line. Earlier versions of this program read it, too.
    ///
    /// # Errors
    /// If a path is not UTF-8.
    pub fn to_text(&self) -> Result<Vec<u8>, serde_json::Error> {
        self.to_text_with_digest().map(|(text, _)| text)
    }

    /// As [`Self::to_text`], with the digest in it.
    ///
    /// # Errors
    /// If a path is not UTF-8.
    pub fn to_text_with_digest(&self) -> Result<(Vec<u8>, String), serde_json::Error> {
        let mut file = serde_json::to_value(self)?;
        file[FORMAT_KEY] = FORMAT.into();
        let digest = digest_of(&file)?;
        file[DIGEST_KEY] = digest.clone().into();
        let mut text = serde_json::to_vec(&file)?;
        text.push(b'\n');
        Ok((text, digest))
    }
}

fn digest_of(file: &Value) -> Result<String, serde_json::Error> {
    Ok(digest(&serde_json::to_vec(file)?))
}

/// The record of a plugin.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PluginRecord {
    /// The version that serves.
    pub serving: Option<VersionRecord>,
    /// The version on canary.
    #[serde(default)]
    pub candidate: Option<VersionRecord>,
    /// The versions that served before, the latest first.
    pub previous: Vec<VersionRecord>,
    /// Files and references that were handled, with their digests at that time.
    #[serde(rename = "seen")]
    pub handled: BTreeMap<String, HandledFile>,
    /// The digests of versions that were rolled back, the latest first. Journals of older versions do not have it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withdrawn: Vec<String>,
}

/// The record of a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionRecord {
    pub(super) version: String,
    /// SHA-256 of the component.
    pub digest: String,
    source: String,
    pub(super) manifest: String,
    pub(super) manifest_path: PathBuf,
    pub(super) at: SystemTime,
}

/// A file that was handled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandledFile {
    /// SHA-256 of the component.
    pub digest: String,
    /// The fingerprint of the file; the default value for a reference to a registry.
    pub fingerprint: FileFingerprint,
}

impl VersionRecord {
    /// Creates the record of a release.
    pub fn of(release: &Release) -> Self {
        let identity = &release.artifact.identity;
        Self {
            version: identity.version.to_string(),
            digest: identity.digest.to_string(),
            source: release.source.to_string(),
            manifest: release.manifest.text.clone(),
            manifest_path: release.manifest.path.clone(),
            at: release.at,
        }
    }

    /// Where the release came from.
    pub fn source(&self) -> ReleaseSource {
        ReleaseSource::parse(&self.source)
    }

    /// Returns true if the release is bundled in the binary.
    pub fn is_bundled(&self) -> bool {
        self.source() == ReleaseSource::Bundled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> JournalState {
        let record = PluginRecord { withdrawn: vec!["ab12".to_owned()], ..PluginRecord::default() };
        let folders = [(PathBuf::from("/plugins"), (u64::MAX, u64::MAX - 1))].into();
        JournalState { plugins: [("stamp".to_owned(), record)].into(), folders }
    }

    #[test]
    fn a_journal_is_read_as_it_was_written_also_without_format_and_digest() {
        let state = state();
        let text = state.to_text().expect("written");
        assert_eq!(JournalState::parse(&text).expect("read"), state);
        let old = serde_json::to_vec_pretty(&state).expect("as earlier releases wrote it");
        assert_eq!(JournalState::parse(&old).expect("format 1"), state);
        let mut later: Value = serde_json::from_slice(&old).expect("JSON");
        later["later"] = 1.into();
        assert_eq!(JournalState::parse(later.to_string().as_bytes()).expect("a key that was added"), state);
    }

    #[test]
    fn no_damage_of_one_byte_is_misread() {
        let state = state();
        let text = state.to_text().expect("written");
        for at in 0..text.len() {
            for damage in [1_u8, 2, 4, 8, 16, 32, 64, 128] {
                let mut damaged = text.clone();
                damaged[at] ^= damage;
                // White space may change into other white space.
                if let Ok(read) = JournalState::parse(&damaged) {
                    assert_eq!(read, state, "{}", String::from_utf8_lossy(&damaged));
                }
            }
            // Without the end of the line it is complete, too.
            assert!(JournalState::parse(&text[..at]).is_err() || at + 1 == text.len(), "cut off after {at} bytes");
        }
    }

    #[test]
    fn a_later_format_is_refused_and_named() {
        for format in ["2", "\"1\"", "null", "1.0"] {
            let text = format!("{{ \"format\": {format}, \"plugins\": {{}} }}");
            let error = JournalState::parse(text.as_bytes()).expect_err("refused").to_string();
            assert!(error.contains(&format!("it has format {format}")), "{error}");
        }
    }
}
