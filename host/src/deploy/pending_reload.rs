//! A new configuration whose components are being pulled. Nothing waits for it: the plugin folder is watched, and uploads
//! are served. A later configuration replaces it.

use std::panic::resume_unwind;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::pull::{Pulled, Wanted, pull_all};
use crate::base::oci::OciReference;
use crate::config::Config;

/// Components that are being pulled. Dropping it ends the pulls.
#[derive(Debug)]
pub(super) struct PendingPulls {
    /// Empty if there is nothing to pull.
    pulls: JoinSet<Pulled>,
}

impl PendingPulls {
    /// Starts to pull plugins and models. Sends to `wake` when everything was pulled.
    pub(super) fn begin(
        runtime: &Handle,
        config: &Config,
        (wanted, models): (Vec<Wanted>, Vec<OciReference>),
        wake: &mpsc::Sender<()>,
    ) -> Self {
        let mut pulls = JoinSet::new();
        if !wanted.is_empty() || !models.is_empty() {
            let (config, wake) = (config.clone(), wake.clone());
            let pulling = async move {
                let pulled = pull_all(&config, wanted, models).await;
                // If the channel is full, the watcher is woken anyway.
                let _ = wake.try_send(());
                pulled
            };
            pulls.spawn_on(pulling, runtime);
        }
        Self { pulls }
    }

    /// Returns what was pulled.
    ///
    /// # Errors
    /// Itself, if it still pulls.
    pub(super) fn finish(mut self) -> Result<Pulled, Box<Self>> {
        if self.pulls.is_empty() {
            return Ok(Pulled::default());
        }
        match self.pulls.try_join_next() {
            None => Err(Box::new(self)),
            Some(Ok(pulled)) => Ok(pulled),
            Some(Err(error)) => match error.try_into_panic() {
                // The watcher counts it and starts again.
                Ok(panic) => resume_unwind(panic),
                // The process ends.
                Err(_) => Err(Box::new(self)),
            },
        }
    }
}

/// A configuration that is served when its components are pulled.
#[derive(Debug)]
pub(super) struct PendingReload {
    config: Config,
    pulls: PendingPulls,
}

impl PendingReload {
    /// Starts to pull these plugins and all models of the configuration, as [`PendingPulls::begin`].
    pub(super) fn begin(runtime: &Handle, config: Config, wanted: Vec<Wanted>, wake: &mpsc::Sender<()>) -> Self {
        let models = config.model_references();
        let pulls = PendingPulls::begin(runtime, &config, (wanted, models), wake);
        Self { config, pulls }
    }

    /// Returns the configuration with what was pulled.
    ///
    /// # Errors
    /// Itself, if it still pulls.
    pub(super) fn finish(self) -> Result<(Config, Pulled), Box<Self>> {
        let Self { mut config, pulls } = self;
        match pulls.finish() {
            Ok(pulled) => {
                config.pulled.failures.clone_from(&pulled.models);
                Ok((config, pulled))
            }
            Err(pulls) => Err(Box::new(Self { config, pulls: *pulls })),
        }
    }
}
