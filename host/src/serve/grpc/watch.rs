//! `grpc.health.v1` whose streams end when the server stops. A client that watches the health keeps its stream open for ever,
//! so without this every stop would last for the whole grace period.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use futures_util::stream::{self, Stream, StreamExt};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::HealthService;

use super::error;
use crate::serve::stop::Stopping;
use crate::serve::stream_limit::StreamSlot;

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
        let slot = request.extensions().get::<Arc<StreamSlot>>().cloned();
        let watched = self.health.watch(request).await?;
        let mut closed = Box::pin(Arc::clone(&self.stopping).closed());
        let mut must_end = slot.as_ref().map(|slot| slot.must_end());
        Ok(watched.map(|mut statuses| {
            // A status that is ready comes first: the last one is `NOT_SERVING`.
            stream::poll_fn(move |context| {
                // The stream keeps its place.
                let _ = &slot;
                if let Poll::Ready(status) = statuses.poll_next_unpin(context) {
                    return Poll::Ready(status);
                }
                if let Some(Poll::Ready(error)) = must_end.as_mut().map(|must_end| must_end.poll(context)) {
                    // A client can wait again with a new call, so this one ends with an error.
                    must_end = None;
                    return Poll::Ready(Some(Err(error::status(&error))));
                }
                closed.as_mut().poll(context).map(|()| None)
            })
            .boxed()
        }))
    }
}
