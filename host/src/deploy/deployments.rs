//! The served state, and the only way to change it.

use std::sync::Arc;

use plimsoll_runtime::engine::Runtime;
use tokio::sync::Mutex;

use super::deployer::Deployer;
use super::serving::Serving;
use crate::base::allocator;
use crate::config::{Config, ConfigError};
use crate::records::Records;

/// The served state, with the deployer that changes it.
pub struct Deployments {
    /// The served pipelines, and the catalog of plugins.
    pub serving: Arc<Serving>,
    /// Locked during a change, so that there is one change at a time.
    deployer: Mutex<Deployer>,
}

impl Deployments {
    /// Builds everything that the configuration names. If `remembers` is true, the deployments in the journal of the
    /// data folder continue, and new deployments are written to it.
    ///
    /// # Errors
    /// If something cannot be served: file, key and reason of the first error.
    pub async fn start(
        runtime: &Runtime,
        config: &Config,
        remembers: bool,
        records: Arc<Records>,
    ) -> Result<Self, ConfigError> {
        let (mut deployer, catalog, served) =
            Deployer::start(runtime, config, remembers, records.metrics.batches()).await?;
        let serving = Arc::new(Serving::new(served, catalog, records));
        deployer.finish_start(&serving).await;
        deployer.finish_build();
        allocator::trim();
        Ok(Self { serving, deployer: Mutex::new(deployer) })
    }

    /// Makes a change on a separate thread, because compiling would block a thread that serves requests. Waits until
    /// the change before it ends. The change is completed even if the caller disconnects.
    ///
    /// # Panics
    /// If the change panics.
    pub async fn change<R: Send + 'static>(
        self: Arc<Self>,
        work: impl AsyncFnOnce(&Serving, &mut Deployer) -> R + Send + 'static,
    ) -> R {
        let runtime = tokio::runtime::Handle::current();
        let changed = tokio::task::spawn_blocking(move || {
            let mut deployer = runtime.block_on(self.deployer.lock());
            let before = self.serving.served.load_full();
            let result = runtime.block_on(work(&self.serving, &mut deployer));
            let is_changed = !Arc::ptr_eq(&before, &self.serving.served.load());
            drop(before);
            if deployer.finish_build() || is_changed {
                allocator::trim();
            }
            result
        });
        changed.await.expect("a change does not panic")
    }
}
