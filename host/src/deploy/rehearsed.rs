//! What the rehearsal of a change found. The change itself then needs neither a registry nor a compiler.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use plimsoll_runtime::component::Artifact;
use plimsoll_runtime::stage::StageCore;

use super::build_error::BuildError;
use super::file_fingerprint::FileFingerprint;
use super::folder_look::ComponentFile;
use super::journal::Journal;
use super::pipeline_build::Selection;
use super::pipeline_builder::PipelineBuilder;
use super::pull::Pulled;
use super::release::{FileError, Release};
use super::sample::Tried;
use super::staged_copy::StagedCopy;

/// What the rehearsal of a change found.
#[derive(Default)]
pub(super) struct Rehearsed {
    /// When the first rehearsal of the change began; `None` if there was none.
    started: Option<Instant>,
    /// The builder of the rehearsal, which knows everything that was read, loaded and compiled.
    pub(super) builder: Option<PipelineBuilder>,
    /// Keeps the new stages alive until the change uses them.
    pub(super) held: Vec<Arc<StageCore>>,
    /// What registries answered before the change.
    pub(super) pulled: Pulled,
    /// The component files that were read, by plugin and path, with their fingerprints before they were read.
    files: BTreeMap<(String, PathBuf), (FileFingerprint, Result<Release, FileError>)>,
    /// The panic of the rehearsal.
    panic: Option<Box<dyn Any + Send>>,
    /// Whether releases can serve together: they were built, and answered their samples.
    trials: BTreeMap<String, Result<(), BuildError>>,
    /// Copies of components, by digest.
    staged: BTreeMap<String, StagedCopy>,
}

impl Rehearsed {
    /// Nothing yet, at the beginning of the first rehearsal of a change.
    pub(super) fn begin() -> Self {
        Self { started: Some(Instant::now()), ..Self::default() }
    }

    /// The result of a rehearsal that panicked.
    pub(super) fn panicked(panic: Box<dyn Any + Send>) -> Self {
        Self { panic: Some(panic), ..Self::default() }
    }

    /// Continues the panic of the rehearsal, if there was one. Otherwise the change would panic once more in the same
    /// way, and one fault would be logged and counted twice.
    ///
    /// # Panics
    /// If the rehearsal panicked.
    pub(super) fn resume_panic(&mut self) {
        if let Some(panic) = self.panic.take() {
            resume_unwind(panic);
        }
    }

    /// When the change began.
    pub(super) fn started(&self) -> Instant {
        self.started.unwrap_or_else(Instant::now)
    }

    /// The release of a component file, which `read` reads unless it was read in the same state before.
    pub(super) fn file(
        &mut self,
        found: &ComponentFile,
        read: impl FnOnce() -> Result<Release, FileError>,
    ) -> Result<Release, FileError> {
        let key = (found.name.clone(), found.path.clone());
        match self.files.get(&key) {
            Some((fingerprint, known)) if *fingerprint == found.fingerprint => known.clone(),
            _ => {
                let release = read();
                self.files.insert(key, (found.fingerprint, release.clone()));
                release
            }
        }
    }

    /// Writes a copy of a component, unless there is one.
    pub(super) fn stage(&mut self, artifact: &Artifact, journal: &Journal) {
        let digest = &*artifact.identity.digest;
        if !self.staged.contains_key(digest)
            && let Some(staged) = journal.stage(artifact)
        {
            self.staged.insert(digest.to_owned(), staged);
        }
    }

    /// Takes the copies that no change has taken.
    pub(super) fn take_all_staged(&mut self) -> impl Iterator<Item = StagedCopy> + use<> {
        std::mem::take(&mut self.staged).into_values()
    }

    /// Adds a copy of a component that was written before.
    pub(super) fn add_staged(&mut self, artifact: &Artifact, staged: Option<StagedCopy>) {
        self.staged.extend(staged.map(|staged| (artifact.identity.digest.to_string(), staged)));
    }

    /// Takes the copy of a component.
    pub(super) fn take_staged(&mut self, digest: &str) -> Option<StagedCopy> {
        self.staged.remove(digest)
    }

    /// The result of a trial.
    pub(super) fn trial(&self, name: &str) -> Option<Result<(), BuildError>> {
        self.trials.get(name).cloned()
    }

    /// Remembers the result of a trial.
    pub(super) fn record_trial<T>(&mut self, name: String, result: &Result<T, BuildError>) {
        self.trials.insert(name, result.as_ref().map(drop).map_err(Clone::clone));
    }

    /// Forgets the trials, because the state in which they were made has changed. What they built stays.
    pub(super) fn forget_trials(&mut self) {
        self.trials.clear();
    }
}

/// The name of the trial of these releases.
pub(super) fn trial_name<'a>(
    selection: &Selection,
    plugins: impl Iterator<Item = &'a str>,
    tried: Tried<'_>,
) -> String {
    let mut name = format!("{tried:?}");
    for release in plugins.filter_map(|plugin| selection.get(plugin)) {
        let identity = &release.artifact.identity;
        let manifest = &release.manifest.text;
        name.push_str(&format!("\n{}@{}+{} {manifest:?}", identity.name, identity.version, identity.digest));
    }
    name
}
