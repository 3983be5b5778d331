//! The application state that all routes share.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::http::HeaderName;
use plimsoll_runtime::engine::Runtime;
use plimsoll_runtime::scheduling::EXTRA_RUNS;

use super::access::Access;
use super::admission::{Admission, Shares};
use super::connection_limit::ConnectionLimits;
use super::copies::Copies;
use super::failure_log::FailureLog;
use super::fleet_client::FleetClient;
use super::keys::Keys;
use super::shadow::Shadows;
use super::stop::Stopping;
use super::stream_limit::StreamLimit;
use super::tls::Tls;
use crate::base::address_space;
use crate::base::process::{memory_of_cgroup, memory_of_machine};
use crate::config::{Config, ConfigError, Listen, Server, Telemetry};
use crate::deploy::{Deployments, NotServed, Served, ServedPipeline, Serving};
use crate::records::Records;

/// The memory report names this as the identity of callers, if callers have keys.
const KEY_NAME: &str = "name of the key";

/// The application state that all routes share.
pub struct App {
    /// The plugins and pipelines that are served. All changes go through it.
    pub deployments: Arc<Deployments>,
    /// The records of requests: their memory, times and counts.
    pub records: Arc<Records>,
    /// The limits on requests.
    pub admission: Arc<Admission>,
    /// The runs of shadow chips.
    pub shadows: Arc<Shadows>,
    /// The requests that may administrate over HTTP and gRPC.
    pub access: Access,
    /// Asks the other servers of the fleet; `None` if there are none.
    pub(super) fleet: Option<FleetClient>,
    /// The keys of callers; `None` if they need none.
    pub keys: Option<Arc<Keys>>,
    /// The certificate of the server; `None` if connections are not encrypted.
    pub tls: Option<Arc<Tls>>,
    /// Counts and logs what is refused because of its credentials.
    pub(super) failures: Arc<FailureLog>,
    /// The addresses of administration, reports and metrics, if they have their own.
    pub admin_listen: Option<Listen>,
    /// The bounds on open connections.
    pub(super) connections: ConnectionLimits,
    /// The bound on streams without an end.
    pub(super) streams: Arc<StreamLimit>,
    /// The copies of `GET /metrics`: as text, and by encoding.
    pub(super) metrics: [Copies; 3],
    /// The header that identifies the caller.
    pub caller_header: HeaderName,
    /// `[server]` as it was at start.
    pub server: Server,
    /// The data folder.
    pub data_dir: PathBuf,
    /// Whether the server was asked to stop.
    pub stopping: Arc<Stopping>,
    /// The engine with its instance pool. Its epoch thread runs only while this value lives.
    pub runtime: Runtime,
}

impl App {
    /// Builds everything that the configuration names, for this process only: deployments are not stored, and plugins
    /// come from the plugin folder and the binary.
    ///
    /// # Errors
    /// If something cannot be served. The error names the file, the key and the reason of the first problem.
    pub async fn build(config: &Config) -> Result<Self, ConfigError> {
        Self::start(config, false).await
    }

    /// Builds everything for a server. Continues the deployments that are stored in the data folder.
    ///
    /// # Errors
    /// As [`App::build`], and if another process serves from the same data folder.
    pub async fn open(config: &Config) -> Result<Self, ConfigError> {
        Self::start(config, true).await
    }

    async fn start(config: &Config, remembers: bool) -> Result<Self, ConfigError> {
        address_space::check().map_err(|error| ConfigError::new(&config.path, "", error.to_string()))?;
        // One slot more than concurrent requests, because a deployment instantiates its stages, one at a time. Shadow runs
        // have slots of their own, so that they take none from requests; so have items and branches of steps.
        let slots = config.server.max_concurrency + 1 + config.server.max_shadow_runs + EXTRA_RUNS;
        let memory = memory_of_cgroup().1.into_iter().chain(memory_of_machine()).min();
        let runtime = Runtime::new(slots, config.server.scheduling(), memory).map_err(|error| {
            let reason = format!("the engine does not start: {error:#}{}", address_space::hint());
            ConfigError::new(&config.path, "", reason)
        })?;
        let access = Access::configured(config)?;
        let fleet = match remembers {
            true => FleetClient::new(config, access.as_ref().and_then(|access| access.fleet_key().map(str::to_owned)))?,
            false => None,
        };
        let tls = if remembers { Tls::configured(config)? } else { None };
        let keys = if remembers { Keys::configured(config)? } else { None };
        // If callers have keys, the name of the key identifies the caller.
        let identity = if keys.is_some() { KEY_NAME } else { config.memory.caller_header.as_str() };
        let records = Arc::new(records(config, identity, remembers)?);
        let deployments = Deployments::start(&runtime, config, remembers, Arc::clone(&records)).await?;
        // The data folder is locked by now, so no other server creates a token at the same time.
        let access = access.unwrap_or_else(|| match remembers {
            true => Access::kept(&config.data_dir()),
            false => Access::closed("this process keeps nothing in a data folder"),
        });
        records.metrics.record_start();
        Ok(Self {
            deployments: Arc::new(deployments),
            shadows: Shadows::new(&config.server, &records),
            failures: FailureLog::new(&records.metrics),
            records,
            admission: Arc::new(Admission::new(config)),
            access,
            fleet,
            keys,
            tls,
            admin_listen: config.admin.listen.clone(),
            connections: ConnectionLimits::new(&config.server),
            streams: StreamLimit::new(config.server.max_streams),
            metrics: Default::default(),
            caller_header: config.memory.caller_header.clone(),
            server: config.server.clone(),
            data_dir: config.data_dir(),
            stopping: Arc::default(),
            runtime,
        })
    }

    /// The served pipelines and the state of every plugin.
    pub fn serving(&self) -> &Serving {
        &self.deployments.serving
    }

    /// The pipelines that are served now.
    pub fn served(&self) -> &ArcSwap<Served> {
        &self.serving().served
    }

    /// The shares of a pipeline in slots and queue.
    pub fn shares<'a>(&self, pipeline: &'a ServedPipeline) -> Shares<'a> {
        Shares { pipeline, is_alone: self.served().load().routes.len() < 2 }
    }

    /// Finds a served pipeline by its name.
    ///
    /// # Errors
    /// If there is no such pipeline, or it is unloaded.
    pub fn pipeline(&self, name: &str) -> Result<Arc<ServedPipeline>, NotServed> {
        self.serving().pipeline(name)
    }
}

/// The records of a process. Only a server exports traces.
fn records(config: &Config, identity: &str, is_server: bool) -> Result<Records, ConfigError> {
    let (callers, buckets) = (config.memory.top_callers, config.server.metric_buckets);
    let unheard = if is_server { Telemetry::variables_without_effect() } else { Vec::new() };
    if !unheard.is_empty() {
        tracing::warn!("these variables of OpenTelemetry have no effect here: {}", unheard.join(", "));
    }
    let traces = config.telemetry.traces();
    let traces = traces.map_err(|(variable, reason)| ConfigError::new(&config.path, variable, reason))?;
    match traces.filter(|_| is_server) {
        None => Ok(Records::new(identity, callers, buckets)),
        Some(settings) => Records::traced(identity, callers, buckets, settings)
            .map_err(|error| ConfigError::new(&config.path, "telemetry", error.to_string())),
    }
}
