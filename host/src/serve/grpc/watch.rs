//! `grpc.health.v1` whose streams end when the server stops. A client that watches the health keeps its stream open for ever,
//! so without this every stop would last for the whole grace period.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{self, Stream, StreamExt};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::HealthService;

use crate::serve::stop::Stopping;

/// The health service.
pub(super) struct EndingWatch {
    pub(super) health: HealthService,
    pub(super) stopping: Arc<Stopping>,
}

#[tonic::async_trait]
impl Health for EndingWatch {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        self.health.check(request).await
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let watched = self.health.watch(request).await?;
        let mut closed = Box::pin(Arc::clone(&self.stopping).closed());
        Ok(watched.map(|mut statuses| {
            // A status that is ready comes first: the last one is `NOT_SERVING`.
            stream::poll_fn(move |context| match statuses.poll_next_unpin(context) {
                std::task::Poll::Pending => closed.as_mut().poll(context).map(|()| None),
                ready => ready,
            })
            .boxed()
        }))
    }
}
