//! The served pipelines, and the catalog of plugins.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use plimsoll_runtime::identity::Identity;
use plimsoll_runtime::stage::StageCore;
use plimsoll_runtime::text::listed;

use super::canary::Canary;
use super::catalog::Catalog;
use super::fleet::Fleet;
use super::served_pipeline::{NotServed, ServedPipeline};
use crate::config::CanaryRules;
use crate::records::Records;
use crate::records::canary_side::{CanarySide, CanarySignal};

/// The state of the server that deployments change and requests read.
pub struct Serving {
    /// The pipelines; every change replaces them as a whole.
    pub served: ArcSwap<Served>,
    catalog: Mutex<Catalog>,
    /// Wakes the task that decides canaries.
    pub canary_signal: Arc<CanarySignal>,
    /// The servers with which canaries are decided; `None` if this server decides alone.
    pub fleet: Option<Fleet>,
    /// The memory and time that requests used.
    pub records: Arc<Records>,
}

/// The pipelines that are served at one moment.
pub struct Served {
    /// The pipelines by name.
    pub routes: BTreeMap<String, Route>,
    /// The pipelines that are configured but unloaded, by name, with the names of their parts that are models.
    pub unloaded: BTreeMap<String, Vec<String>>,
}

/// A pipeline, and its canary if there is one.
#[derive(Clone)]
pub struct Route {
    /// The version that serves.
    pub stable: Arc<ServedPipeline>,
    /// A new version on a share of the requests.
    pub canary: Option<Arc<Canary>>,
}

/// The pipeline of a request, and the side of the canary that counts the request.
pub type Routed = (Arc<ServedPipeline>, Option<Arc<CanarySide>>);

impl Route {
    /// A pipeline without a canary.
    pub fn new(stable: Arc<ServedPipeline>) -> Self {
        Self { stable, canary: None }
    }

    /// Selects the pipeline for the next request.
    pub fn route_request(&self, caller: Option<&[u8]>) -> Routed {
        match &self.canary {
            None => (Arc::clone(&self.stable), None),
            Some(canary) if canary.takes_next(caller) => (Arc::clone(&canary.pipeline), Some(canary.side(true))),
            Some(canary) => (Arc::clone(&self.stable), Some(canary.side(false))),
        }
    }

    /// The versions that are served: the stable version and the canary's.
    pub fn versions(&self) -> Vec<String> {
        let mut versions = vec![self.stable.version.clone()];
        let canary = self.canary.as_ref().map(|canary| canary.pipeline.version.clone());
        versions.extend(canary.filter(|version| *version != versions[0]));
        versions
    }

    /// The pipeline of a version. A request for it does not count for a canary: its caller chose the version, so a few
    /// callers could decide the canary, and their requests are not a representative sample.
    pub fn version(&self, version: &str) -> Option<Routed> {
        let canary = self.canary.iter().map(|canary| &canary.pipeline);
        let pipeline = canary.chain([&self.stable]).find(|pipeline| pipeline.version == version);
        pipeline.map(|pipeline| (Arc::clone(pipeline), None))
    }
}

impl Served {
    /// The route of a pipeline.
    ///
    /// # Errors
    /// If there is no such pipeline, or it is unloaded.
    pub fn route(&self, name: &str) -> Result<&Route, NotServed> {
        self.routes.get(name).ok_or_else(|| match self.unloaded.contains_key(name) {
            true => NotServed::Unloaded { name: name.to_owned() },
            false => {
                NotServed::Pipeline { name: name.to_owned(), known: listed(self.routes.keys().map(String::as_str)) }
            }
        })
    }

    /// The stages of a plugin in the stable versions.
    pub fn stages_of(&self, plugin: &str) -> Vec<Arc<StageCore>> {
        let stages = self.routes.values().flat_map(|route| route.stable.stages());
        stages.filter(|(_, stage)| &*stage.plugin.name == plugin).map(|(_, stage)| Arc::clone(stage)).collect()
    }
}

impl Serving {
    /// The state at start.
    pub fn new(served: Served, catalog: Catalog, records: Arc<Records>, fleet: Option<Fleet>) -> Self {
        Self {
            served: ArcSwap::from_pointee(served),
            catalog: Mutex::new(catalog),
            canary_signal: Arc::default(),
            fleet,
            records,
        }
    }

    /// Begins a canary of `candidate` in `pipeline`, which contains it.
    pub(super) fn new_canary(&self, pipeline: Arc<ServedPipeline>, candidate: &Identity, rules: CanaryRules) -> Canary {
        Canary::new(pipeline, candidate, rules, &self.canary_signal, self.fleet.is_some())
    }

    /// The stable pipeline of a name.
    ///
    /// # Errors
    /// If there is no such pipeline, or it is unloaded.
    pub fn pipeline(&self, name: &str) -> Result<Arc<ServedPipeline>, NotServed> {
        self.served.load().route(name).map(|route| Arc::clone(&route.stable))
    }

    /// The names of the pipelines.
    pub fn pipeline_names(&self) -> Vec<String> {
        self.served.load().routes.keys().cloned().collect()
    }

    /// Locks the catalog. Hold the lock only while you read or write it.
    pub fn catalog(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
