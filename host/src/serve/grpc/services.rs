//! The gRPC services and their routes.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::IntoResponse;
use futures_util::FutureExt;
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tower::Service;

use super::budget::Budgeted;
use super::inference::grpc_inference_service_server::GrpcInferenceServiceServer;
use super::service;
use crate::serve::App;

/// The encoded file descriptor set that server reflection serves.
const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/inference.bin"));

type Inference = GrpcInferenceServiceServer<service::Service>;

/// All gRPC services. [`Services::router`] creates their routes.
pub struct Services {
    app: Arc<App>,
    /// The status that `grpc.health.v1` reports.
    pub health: Health,
}

/// Sets the status that `grpc.health.v1` reports.
#[derive(Clone)]
pub struct Health(HealthReporter);

impl Health {
    /// Sets the status to `NOT_SERVING`, because the server is about to stop.
    pub async fn stopping(&self) {
        for name in ["", Inference::NAME] {
            self.0.set_service_status(name, ServingStatus::NotServing).await;
        }
    }
}

/// Adds the routes of a service. The messages of the service count against the budget.
fn routes<S>(router: Router, app: &Arc<App>, service: S) -> Router
where
    S: Service<Request<Body>, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
    S::Response: IntoResponse,
    S::Future: Send + 'static,
{
    router.route_service(&format!("/{}/{{*method}}", S::NAME), Budgeted::new(app, service))
}

impl Services {
    /// Creates the services. Their status is `SERVING`.
    pub fn new(app: &Arc<App>) -> Self {
        let reporter = HealthReporter::new();
        // Nothing else uses the reporter yet, so this completes without waiting.
        let _ = reporter.set_service_status(Inference::NAME, ServingStatus::Serving).now_or_never();
        Self { app: Arc::clone(app), health: Health(reporter) }
    }

    /// Returns the routes of all services.
    pub fn router(&self) -> Router {
        let app = &self.app;
        let limit = usize::try_from(app.server.max_body.as_u64()).unwrap_or(usize::MAX);
        let service = Inference::new(service::Service::new(app)).max_decoding_message_size(limit);
        let reflection = || {
            let of = tonic_reflection::server::Builder::configure();
            let of = of.register_encoded_file_descriptor_set(DESCRIPTOR);
            of.register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let health = HealthServer::new(HealthService::from_health_reporter(self.health.0.clone()));
        let router = routes(Router::new(), app, service);
        let router = routes(router, app, health);
        // Older clients use version v1alpha of reflection.
        let router = routes(router, app, reflection().build_v1alpha().expect("the built-in descriptors are valid"));
        routes(router, app, reflection().build_v1().expect("the built-in descriptors are valid"))
    }
}
