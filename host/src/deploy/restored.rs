//! The versions of the journal at the start.
//!
//! A version that cannot be read now is not lost: if it served or was on canary, the start is refused, because another
//! version would serve in its place; if it is a previous version, its record and its copy are kept for a later start. A
//! copy that is missing or damaged is replaced if a file of the plugin has the same bytes. Otherwise the version before it
//! serves, and the log says so; the start is refused if that one cannot be read. A version that was rolled back never
//! serves in its place.

use std::sync::Arc;

use plimsoll_runtime::component::Artifact;

use super::catalog::{Catalog, CatalogEntry, PreviousVersion, UnreadVersion};
use super::deployer::Deployer;
use super::journal::{Journal, JournalError};
use super::journal_state::{JournalState, PluginRecord, VersionRecord};
use super::newest_release::release_of_file;
use super::release::Release;

impl Deployer {
    /// Creates the catalog from the journal.
    ///
    /// # Errors
    /// If a version that served or was on canary cannot be read now.
    pub(super) fn catalog_from_journal(&mut self, state: &JournalState) -> Result<Catalog, JournalError> {
        let Some(journal) = self.journal.clone() else { return Ok(Catalog::new()) };
        let mut catalog = Catalog::new();
        let mut damaged = Vec::new();
        for (name, record) in &state.plugins {
            catalog.insert(name.clone(), self.entry_from_journal(&journal, name, record, &mut damaged)?);
        }
        // After all are found: a start that is refused changes nothing. `write_journal` writes them again.
        damaged.iter().for_each(|digest| journal.remove_copy(digest));
        Ok(catalog)
    }

    fn entry_from_journal(
        &mut self,
        journal: &Journal,
        name: &str,
        record: &PluginRecord,
        damaged: &mut Vec<String>,
    ) -> Result<CatalogEntry, JournalError> {
        let mut plugin = CatalogEntry {
            handled: record.handled.clone(),
            withdrawn: record.withdrawn.iter().map(|digest| Arc::from(digest.as_str())).collect(),
            ..CatalogEntry::default()
        };
        // The first one that may serve in place of a lost version, if it cannot be read.
        let mut before = None;
        for version in &record.previous {
            match self.restore_version(journal, name, version, &plugin, damaged) {
                Ok(release) => {
                    let unread = plugin.unread.iter_mut().filter(|unread| unread.after.is_none());
                    unread.for_each(|unread| unread.after = release.is_some().then(|| version.digest.clone()));
                    plugin.previous.extend(release.map(|release| PreviousVersion { release, stages: Vec::new() }));
                }
                Err(error) if !error.is_lost_copy() => {
                    tracing::warn!(
                        plugin = name,
                        digest = version.digest,
                        "there is no rollback to version {} until a start that can read it: {error}",
                        version.version
                    );
                    plugin.unread.push(UnreadVersion { record: version.clone(), after: None });
                    let has_next =
                        plugin.previous.iter().any(|it| !plugin.is_withdrawn(&it.release.artifact.identity.digest));
                    if before.is_none() && !has_next && !plugin.is_withdrawn(&version.digest) {
                        before = Some(error);
                    }
                }
                Err(error) => log_lost(name, version, &error, "so there is no rollback to it"),
            }
        }
        if let Some(version) = &record.candidate {
            plugin.candidate = match self.restore_version(journal, name, version, &plugin, damaged) {
                Err(error) if error.is_lost_copy() => {
                    log_lost(name, version, &error, "so its canary ends");
                    None
                }
                restored => restored?,
            };
        }
        if let Some(version) = &record.serving {
            let bundled = if version.is_bundled() { Release::bundled(name) } else { None };
            match self.restore_version(journal, name, version, &plugin, damaged) {
                Err(error) if error.is_lost_copy() => {
                    if let Some(before) = before {
                        log_lost(name, version, &error, "and the version before it cannot be read");
                        return Err(before);
                    }
                    replace_lost(name, version, &error, &mut plugin);
                }
                // Another version of this program may bundle another component.
                restored => plugin.serving = restored?.or(bundled.map(Arc::new)),
            }
        }
        Ok(plugin)
    }

    /// The release of a record. If its copy is damaged or missing, and another file has the same bytes, its digest is added to
    /// `damaged`. `None` for a bundled one that this version of the program does not contain: it has no copy.
    fn restore_version(
        &mut self,
        journal: &Journal,
        name: &str,
        version: &VersionRecord,
        plugin: &CatalogEntry,
        damaged: &mut Vec<String>,
    ) -> Result<Option<Arc<Release>>, JournalError> {
        if version.is_bundled() {
            return Ok(Release::bundled(name)
                .filter(|it| *it.artifact.identity.digest == version.digest)
                .map(Arc::new));
        }
        let error = match journal.release(name, version) {
            Ok(release) => return Ok(Some(Arc::new(release))),
            Err(error) if !error.is_lost_copy() => return Err(error),
            Err(error) => error,
        };
        let Some((path, artifact)) = self.find_bytes(name, &version.digest, plugin) else { return Err(error) };
        let release = Journal::release_of(name, version, artifact.bytes()?)?;
        tracing::warn!(plugin = name, digest = version.digest, "{error}; the component in {path} takes its place");
        damaged.push(version.digest.clone());
        Ok(Some(Arc::new(release)))
    }

    /// The component with this digest among the files of the plugin, and its path.
    fn find_bytes(&mut self, name: &str, digest: &str, plugin: &CatalogEntry) -> Option<(String, Artifact)> {
        let config = self.config.clone();
        let files = self.folder.look(&config, &plugin.known_files()).files;
        files.into_iter().filter(|found| found.name == name).find_map(|found| {
            let artifact = self.rehearsed.file(&found, || release_of_file(&config, &found)).ok()?.artifact;
            (*artifact.identity.digest == *digest).then(|| (found.path.display().to_string(), artifact))
        })
    }
}

/// Makes the version before a lost one serve. If there is none, a file of the plugin must take its place.
fn replace_lost(name: &str, version: &VersionRecord, error: &JournalError, plugin: &mut CatalogEntry) {
    let before = plugin.previous.iter().position(|it| !plugin.is_withdrawn(&it.release.artifact.identity.digest));
    plugin.serving = before.and_then(|at| plugin.previous.remove(at)).map(|before| before.release);
    match &plugin.serving {
        Some(before) => {
            let then = format!("so version {} before it serves", before.artifact.identity.version);
            log_lost(name, version, error, &then);
        }
        None => {
            log_lost(name, version, error, "and there is no version before it");
            plugin.lost =
                Some(format!("version {} of plugin `{name}`, which served, is lost: {error}", version.version));
        }
    }
}

fn log_lost(name: &str, version: &VersionRecord, error: &JournalError, then: &str) {
    tracing::error!(plugin = name, digest = version.digest, "version {} is lost, {then}: {error}", version.version);
}
