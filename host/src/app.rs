//! The application: what is served now, what requests needed, and who may change it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::ArcSwap;

use crate::allocator;
use crate::config::{self, Config, ConfigError};
use crate::deploy::Deployer;
use crate::deploy::canary::{Arm, Due, Trial};
use crate::deploy::catalog::{Catalog, PluginView, StageView};
use crate::engine::Engines;
use crate::http::admin::Access;
use crate::http::admission::Admission;
use crate::memory::Recorder;
use crate::pipeline::Pipeline;

/// Everything that serving needs.
pub struct App {
    /// The pipelines, exchanged as a whole by every change.
    pub served: ArcSwap<Served>,
    catalog: Mutex<Catalog>,
    /// Held by whoever makes a change, so that there is one at a time.
    pub deployer: tokio::sync::Mutex<Deployer>,
    /// Wakes who decides trials.
    pub due: Arc<Due>,
    /// What requests needed.
    pub recorder: Arc<Recorder>,
    /// Who may enter.
    pub admission: Admission,
    /// Who may deploy over HTTP.
    pub access: Access,
    /// `[server]`, as it was at start.
    pub server: config::Server,
    /// Kept for its epoch thread and its pool.
    pub engines: Engines,
}

/// What is served at one moment.
pub struct Served {
    /// The pipelines by name.
    pub routes: BTreeMap<String, Route>,
    /// Those that are configured and were unloaded.
    pub unloaded: BTreeSet<String>,
}

/// A pipeline, and the one that is on trial beside it.
pub struct Route {
    /// The version that serves.
    pub stable: Arc<Pipeline>,
    /// A new version that gets a share of the requests.
    pub trial: Option<Arc<Trial>>,
}

impl Route {
    /// The pipeline for the next request, and where a trial counts it.
    pub fn choose(&self) -> (Arc<Pipeline>, Option<Arc<Arm>>) {
        match &self.trial {
            None => (Arc::clone(&self.stable), None),
            Some(trial) if trial.takes_next() => (Arc::clone(&trial.pipeline), Some(trial.arm(true))),
            Some(trial) => (Arc::clone(&self.stable), Some(trial.arm(false))),
        }
    }
}

impl App {
    /// Builds everything the configuration names, for this process only: nothing is remembered of deployments, and
    /// the plugins are those of the folder and the bundled ones.
    ///
    /// # Errors
    /// The first thing that cannot be served: file, key, reason.
    pub async fn build(config: &Config) -> Result<Self, ConfigError> {
        Self::start(config, false).await
    }

    /// Builds everything to serve it: what was deployed before is taken from the data folder and goes on.
    ///
    /// # Errors
    /// As [`App::build`], and when another process serves from the same data folder.
    pub async fn open(config: &Config) -> Result<Self, ConfigError> {
        Self::start(config, true).await
    }

    async fn start(config: &Config, remembers: bool) -> Result<Self, ConfigError> {
        let whole = |reason: String| ConfigError::new(&config.path, "", reason);
        // A place more than requests have: a change instantiates what it deploys, one stage at a time.
        let engines = Engines::new(config.server.max_concurrency + 1)
            .map_err(|error| whole(format!("the engine does not start: {error:#}")))?;
        let access = Access::new(config)?;
        let recorder = Arc::new(Recorder::new(&config.memory));
        let batches = recorder.metrics.batches();
        let (deployer, catalog, served) = Deployer::start(&engines, config, remembers, batches).await?;
        let app = Self {
            served: ArcSwap::from_pointee(served),
            catalog: Mutex::new(catalog),
            deployer: tokio::sync::Mutex::new(deployer),
            due: Arc::default(),
            recorder,
            admission: Admission::new(&config.server),
            access,
            server: config.server.clone(),
            engines,
        };
        {
            let mut deployer = app.deployer.lock().await;
            deployer.started(&app).await;
            deployer.settle();
        }
        allocator::trim();
        Ok(app)
    }

    /// Makes a change, to its end whatever becomes of the caller, on a thread of its own: compiling would hold up
    /// requests on a thread that serves them. Waits for the change before it.
    ///
    /// # Panics
    /// When the change does.
    pub async fn change<R: Send + 'static>(
        self: Arc<Self>,
        work: impl AsyncFnOnce(&App, &mut Deployer) -> R + Send + 'static,
    ) -> R {
        let runtime = tokio::runtime::Handle::current();
        let changed = tokio::task::spawn_blocking(move || {
            let mut deployer = runtime.block_on(self.deployer.lock());
            let before = self.served.load_full();
            let result = runtime.block_on(work(&self, &mut deployer));
            let changed = !Arc::ptr_eq(&before, &self.served.load());
            drop(before);
            if deployer.settle() || changed {
                allocator::trim();
            }
            result
        });
        changed.await.expect("a change does not panic")
    }

    /// The pipeline that serves under a name.
    pub fn pipeline(&self, name: &str) -> Option<Arc<Pipeline>> {
        self.served.load().routes.get(name).map(|route| Arc::clone(&route.stable))
    }

    /// The names of the pipelines.
    pub fn pipeline_names(&self) -> Vec<String> {
        self.served.load().routes.keys().cloned().collect()
    }

    /// What is known of every plugin; held only for as long as it takes to read or write it.
    pub fn catalog(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().expect("no holder panics")
    }

    /// The plugins that somebody may ask for, as `GET /v1/plugins` shows them.
    pub fn plugin_views(&self) -> Vec<PluginView> {
        let served = self.served.load();
        let rows = self.recorder.rows(None, std::time::Instant::now());
        let catalog = self.catalog();
        let known = catalog.iter().filter(|(_, plugin)| plugin.is_known());
        known
            .map(|(name, plugin)| {
                let trials = served.routes.values().filter_map(|route| route.trial.as_ref());
                let canary =
                    trials.filter(|trial| **trial.plugin() == **name).map(|trial| trial.comparison()).collect();
                plugin.view(name, stages_of(&served, name), canary, &rows)
            })
            .collect()
    }
}

/// Where a plugin works, and within which limits.
fn stages_of(served: &Served, plugin: &str) -> Vec<StageView> {
    let mut views = Vec::new();
    for route in served.routes.values() {
        for (chip, stage) in route.stable.stages().filter(|(_, stage)| &*stage.plugin.name == plugin) {
            views.push(StageView {
                pipeline: route.stable.name.clone(),
                stage: stage.name,
                chip: chip.map(str::to_owned),
                max_memory: stage.limits.max_memory,
                deadline_seconds: stage.limits.deadline.as_secs_f64(),
            });
        }
    }
    views
}
