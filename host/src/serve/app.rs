//! The application: everything that the routes need.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::http::HeaderName;
use plimsoll_runtime::engine::Runtime;

use super::access::Access;
use super::admission::Admission;
use crate::config::{Config, ConfigError, Server};
use crate::deploy::{Deployments, NotServed, Served, ServedPipeline, Serving};
use crate::records::Records;

/// Everything that the routes need.
pub struct App {
    /// What is served, and the one way to change it.
    pub deployments: Arc<Deployments>,
    /// The memory and time that requests needed.
    pub records: Arc<Records>,
    /// The bounds on requests.
    pub admission: Admission,
    /// Who may administrate over HTTP and gRPC.
    pub access: Access,
    /// The header that identifies the caller.
    pub caller_header: HeaderName,
    /// `[server]` at start.
    pub server: Server,
    /// The engine; kept for its epoch thread and its pool.
    pub runtime: Runtime,
}

impl App {
    /// Builds everything the configuration names, for this process only: deployments are not remembered, and plugins come
    /// from the plugin folder and the binary.
    ///
    /// # Errors
    /// The first thing that cannot be served: file, key, reason.
    pub async fn build(config: &Config) -> Result<Self, ConfigError> {
        Self::start(config, false).await
    }

    /// Builds everything for a server: the deployments that the data folder remembers go on.
    ///
    /// # Errors
    /// As [`App::build`], and if another process serves from the same data folder.
    pub async fn open(config: &Config) -> Result<Self, ConfigError> {
        Self::start(config, true).await
    }

    async fn start(config: &Config, remembers: bool) -> Result<Self, ConfigError> {
        // One slot more than concurrent requests: a change instantiates the stages that it deploys, one at a time.
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

    /// What is served, and what is known of every plugin.
    pub fn serving(&self) -> &Serving {
        &self.deployments.serving
    }

    /// The pipelines that are served now.
    pub fn served(&self) -> &ArcSwap<Served> {
        &self.serving().served
    }

    /// The pipeline that serves under a name.
    ///
    /// # Errors
    /// If there is no such pipeline, or it is unloaded.
    pub fn pipeline(&self, name: &str) -> Result<Arc<ServedPipeline>, NotServed> {
        self.serving().pipeline(name)
    }
}
