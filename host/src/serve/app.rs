//! The application state that all routes share.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::http::HeaderName;
use plimsoll_runtime::engine::Runtime;

use super::access::Access;
use super::admission::Admission;
use crate::config::{Config, ConfigError, Server};
use crate::deploy::{Deployments, NotServed, Served, ServedPipeline, Serving};
use crate::records::Records;

/// The application state that all routes share.
pub struct App {
    /// The plugins and pipelines that are served. All changes go through it.
    pub deployments: Arc<Deployments>,
    /// The records of requests: their memory, times and counts.
    pub records: Arc<Records>,
    /// The limits on requests.
    pub admission: Admission,
    /// The requests that may administrate over HTTP and gRPC.
    pub access: Access,
    /// The header that identifies the caller.
    pub caller_header: HeaderName,
    /// `[server]` as it was at start.
    pub server: Server,
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
        // One slot more than concurrent requests, because a deployment instantiates its stages, one at a time.
        let runtime = Runtime::new(config.server.max_concurrency + 1, config.server.scheduling())
            .map_err(|error| ConfigError::new(&config.path, "", format!("the engine does not start: {error:#}")))?;
        let access = Access::new(config)?;
        let records = Arc::new(Records::new(config.memory.caller_header.as_str(), config.memory.top_callers));
        let deployments = Deployments::start(&runtime, config, remembers, Arc::clone(&records)).await?;
        Ok(Self {
            deployments: Arc::new(deployments),
            records,
            admission: Admission::new(&config.server),
            access,
            caller_header: config.memory.caller_header.clone(),
            server: config.server.clone(),
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

    /// Finds a served pipeline by its name.
    ///
    /// # Errors
    /// If there is no such pipeline, or it is unloaded.
    pub fn pipeline(&self, name: &str) -> Result<Arc<ServedPipeline>, NotServed> {
        self.serving().pipeline(name)
    }
}
