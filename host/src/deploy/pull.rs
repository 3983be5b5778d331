//! Pulls the components and models that a configuration names in registries. This happens before the change that needs them and without
//! any lock, because a registry may take minutes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};

use super::catalog::{Catalog, CatalogEntry};
use super::manifest::Manifest;
use super::needed::declared;
use super::release::{Release, ReleaseSource};
use crate::base::oci::{self, OciError, OciReference};
use crate::config::{Config, PullError};

/// Maximum number of references that are pulled at the same time.
const MAX_PULLS: usize = 8;

/// A reference that a configuration needs.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) plugin: String,
    pub(super) reference: String,
    /// The revision of the plugin before the pull; `None` if the plugin is not known.
    pub(super) revision: Option<u64>,
}

/// What registries answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Pulled {
    plugins: Vec<(Wanted, Result<Release, PullError>)>,
    /// Why models were not pulled, by their references.
    pub(super) models: BTreeMap<String, PullError>,
}

impl Pulled {
    /// The answer for a reference of a plugin; `None` if it was not pulled.
    pub(super) fn get(&self, plugin: &str, reference: &str) -> Option<&Result<Release, PullError>> {
        self.find(plugin, reference).map(|(_, answer)| answer)
    }

    /// Returns true if the plugin was deployed or rolled back while the reference was pulled. That is the later request.
    pub(super) fn is_overtaken(&self, name: &str, reference: &str, plugin: &CatalogEntry) -> bool {
        self.find(name, reference).is_some_and(|(wanted, _)| wanted.revision != Some(plugin.revision))
    }

    /// What was pulled, with the answers.
    pub(super) fn into_answers(self) -> Vec<(Wanted, Result<Release, PullError>)> {
        self.plugins
    }

    /// Returns true if a registry could not be asked.
    pub(super) fn is_incomplete(&self) -> bool {
        let plugins = self.plugins.iter().filter_map(|(_, answer)| answer.as_ref().err());
        plugins.chain(self.models.values()).any(|error| error.is_temporary)
    }

    fn find(&self, plugin: &str, reference: &str) -> Option<&(Wanted, Result<Release, PullError>)> {
        self.plugins.iter().find(|(wanted, _)| wanted.plugin == plugin && wanted.reference == reference)
    }
}

/// The reference of a plugin; `None` if it comes from a file or is bundled.
pub(super) fn reference_of<'a>(config: &'a Config, plugin: &str) -> Option<&'a str> {
    declared(config, plugin).and_then(Path::to_str).filter(|file| file.starts_with("oci://"))
}

/// Returns true if a reference must be pulled. A pinned one that was handled has no other content.
pub(super) fn must_pull(reference: &str, plugin: Option<&CatalogEntry>) -> bool {
    let is_known = |plugin: &CatalogEntry| plugin.serving.is_some() && plugin.handled.contains_key(reference);
    !(reference.contains("@sha256:") && plugin.is_some_and(is_known))
}

/// Returns true if a release was handled before from this file or reference, so that it is not a new one: the same bytes
/// with a new modification time are none, because the folder may have been copied or restored; those with a changed
/// manifest are one. A version that was rolled back is not new wherever it comes from.
pub(super) fn is_handled(what: &str, release: &Release, plugin: &CatalogEntry) -> bool {
    let digest = &*release.artifact.identity.digest;
    let is_known = plugin.handled.get(what).is_some_and(|known| *known.digest == *digest);
    let is_old = plugin.is_withdrawn(digest) || (is_known && !plugin.has_new_manifest(release));
    plugin.serving.is_some() && is_old
}

/// The references that must be pulled for a configuration. `known` has the releases from which it selects.
pub(super) fn wanted(config: &Config, known: &Catalog) -> Vec<Wanted> {
    let wanted = config.plugins.keys().filter_map(|name| {
        let (reference, plugin) = (reference_of(config, name)?, known.get(name));
        must_pull(reference, plugin).then(|| Wanted {
            plugin: name.clone(),
            reference: reference.to_owned(),
            revision: plugin.map(|plugin| plugin.revision),
        })
    });
    wanted.collect()
}

/// Pulls references of plugins, several at a time, and models.
pub(super) async fn pull_all(config: &Config, wanted: Vec<Wanted>, models: Vec<OciReference>) -> Pulled {
    let max_bytes = config.deploy.max_plugin.as_u64();
    let places = Arc::new(Semaphore::new(MAX_PULLS));
    let mut pulls = JoinSet::new();
    for wanted in wanted {
        let places = Arc::clone(&places);
        pulls.spawn(async move {
            // The semaphore is never closed.
            let _place = places.acquire().await;
            let answer = pull(&wanted, max_bytes).await;
            (wanted, answer)
        });
    }
    let models = pull_models(config, models).await;
    Pulled { plugins: pulls.join_all().await, models }
}

/// Pulls models that are not stored, one after the other: they are large. Returns why some were not pulled.
async fn pull_models(config: &Config, models: Vec<OciReference>) -> BTreeMap<String, PullError> {
    let max_bytes = config.deploy.max_model.as_u64();
    let mut failures = BTreeMap::new();
    for reference in models {
        if let Err(error) = oci::pull_model(&reference, max_bytes, &config.models_dir()).await {
            failures.insert(reference.to_string(), PullError::from(error));
        }
    }
    failures
}

async fn pull(wanted: &Wanted, max_bytes: u64) -> Result<Release, PullError> {
    let reference = &wanted.reference;
    let parsed: OciReference = reference.parse().map_err(|error: OciError| PullError::from(error))?;
    tracing::info!("pulling {reference} …");
    let pulled = oci::pull(&parsed, max_bytes).await.map_err(PullError::from)?;
    let Wanted { plugin, reference, .. } = wanted.clone();
    // Its digest is computed, which takes long for a large component.
    let release = spawn_blocking(move || {
        let source = ReleaseSource::Oci(reference.clone());
        Release::new(&plugin, None, pulled.bytes.into(), Manifest::default(), source)
            .map_err(|error| PullError::new(format!("{reference}: its version {error}")))
    });
    release.await.unwrap_or_else(|error| Err(PullError::new(error)))
}
