//! The pipelines of the last build. A pipeline whose configuration, files and releases are the same is not built again, so a
//! deployment costs little more with many pipelines than with one.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use plimsoll_runtime::identity::Identity;

use super::release::Release;
use super::served_pipeline::ServedPipeline;
use crate::config::{self, Config};

/// The release of each plugin.
type Releases = BTreeMap<String, Arc<Release>>;

/// The pipelines of the last build that are still in use.
#[derive(Clone, Default)]
pub(super) struct BuiltPipelines {
    /// The configuration from which they were built. A change of it makes another value.
    config: Option<Arc<Config>>,
    /// The generation of the files with which they were built.
    generation: u64,
    pipelines: HashMap<String, Built>,
}

#[derive(Clone)]
struct Built {
    releases: Vec<ReleaseKey>,
    pipeline: Weak<ServedPipeline>,
}

/// What a pipeline takes from a release. The release itself may have the bytes of its component in memory.
#[derive(Clone, PartialEq, Eq)]
struct ReleaseKey {
    identity: Identity,
    manifest: String,
    manifest_path: PathBuf,
}

impl ReleaseKey {
    fn of(release: &Release) -> Self {
        Self {
            identity: release.artifact.identity.clone(),
            manifest: release.manifest.text.clone(),
            manifest_path: release.manifest.path.clone(),
        }
    }

    fn is_of(&self, release: &Release) -> bool {
        self.identity == release.artifact.identity
            && self.manifest == release.manifest.text
            && self.manifest_path == release.manifest.path
    }
}

impl BuiltPipelines {
    /// Begins a build. Forgets the pipelines of another configuration, and those of other files.
    pub(super) fn begin(&mut self, config: &Arc<Config>, generation: u64) {
        let is_same = self.config.as_ref().is_some_and(|known| Arc::ptr_eq(known, config));
        if !is_same || self.generation != generation {
            *self = Self { config: Some(Arc::clone(config)), generation, pipelines: HashMap::new() };
        }
    }

    /// The pipeline that was built from the same releases, if it is still in use.
    pub(super) fn find(
        &self,
        name: &str,
        pipeline: &config::Pipeline,
        selection: &Releases,
    ) -> Option<Arc<ServedPipeline>> {
        let known = self.pipelines.get(name)?;
        let mut releases = known.releases.iter();
        let is_same = |plugin: &str| {
            let pair = releases.next().zip(selection.get(plugin));
            pair.is_some_and(|(known, release)| known.is_of(release))
        };
        if pipeline.plugins().all(is_same) { known.pipeline.upgrade() } else { None }
    }

    /// Remembers a pipeline that was built.
    pub(super) fn insert(
        &mut self,
        name: &str,
        pipeline: &config::Pipeline,
        selection: &Releases,
        built: &Arc<ServedPipeline>,
    ) {
        let releases = pipeline.plugins().filter_map(|plugin| selection.get(plugin));
        let releases = releases.map(|release| ReleaseKey::of(release)).collect();
        self.pipelines.insert(name.to_owned(), Built { releases, pipeline: Arc::downgrade(built) });
    }
}
