//! The gRPC services and their routes.

use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use futures_util::FutureExt;
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tower::Service;

use super::budget::Budgeted;
use super::entrance;
use super::inference::grpc_inference_service_server::GrpcInferenceServiceServer;
use super::service;
use super::watch::EndingWatch;
use crate::serve::App;
use crate::serve::authentication::authenticate;
use crate::serve::part::Part;

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

/// How often the status of `grpc.health.v1` is compared with the readiness of the server.
const INTERVAL: Duration = Duration::from_secs(1);

impl Health {
    /// Reports every change of the readiness of the server.
    async fn follow(self, app: Weak<App>) {
        let mut was_ready = true;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let Some(is_ready) = app.upgrade().map(|app| app.is_ready()) else { return };
            if is_ready != was_ready {
                self.set(if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
                was_ready = is_ready;
            }
        }
    }

    async fn set(&self, status: ServingStatus) {
        for name in ["", Inference::NAME] {
            self.0.set_service_status(name, status).await;
        }
    }

    /// Sets the status to `NOT_SERVING`, because the server is about to stop.
    pub async fn stopping(&self) {
        self.set(ServingStatus::NotServing).await;
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
    /// Creates the services. Their status is `SERVING` while the server is ready.
    pub fn new(app: &Arc<App>) -> Self {
        let reporter = HealthReporter::new();
        // Nothing else uses the reporter yet, so this completes without waiting.
        let _ = reporter.set_service_status(Inference::NAME, ServingStatus::Serving).now_or_never();
        let health = Health(reporter);
        let (background, app_followed, followed) =
            (app.records.background.clone(), Arc::downgrade(app), health.clone());
        tokio::spawn(async move {
            background.supervise("grpc health", || followed.clone().follow(app_followed.clone())).await;
        });
        Self { app: Arc::clone(app), health }
    }

    /// Returns the routes of all services, for an address with this part of the server.
    pub fn router(&self, part: Part) -> Router {
        let app = &self.app;
        let limit = usize::try_from(app.server.max_body.as_u64()).unwrap_or(usize::MAX);
        let service = Inference::new(service::Service::new(app, part)).max_decoding_message_size(limit);
        let reflection = || {
            let builder = tonic_reflection::server::Builder::configure();
            let builder = builder.register_encoded_file_descriptor_set(DESCRIPTOR);
            builder.register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let health = HealthService::from_health_reporter(self.health.0.clone());
        let health = HealthServer::new(EndingWatch { health, stopping: Arc::clone(&app.stopping) });
        let router = routes(Router::new(), app, service);
        // Older clients use version v1alpha of reflection.
        #[expect(clippy::expect_used, reason = "the build script and a library made the descriptors")]
        let (v1alpha, v1) = (
            reflection().build_v1alpha().expect("the built-in descriptors are valid"),
            reflection().build_v1().expect("the built-in descriptors are valid"),
        );
        let router = routes(routes(router, app, v1alpha), app, v1);
        let router = match app.keys {
            Some(_) => router.route_layer(from_fn_with_state(Arc::clone(app), authenticate)),
            None => router,
        };
        routes(router, app, health).route_layer(from_fn_with_state((part, Arc::clone(&app.streams)), entrance::check))
    }
}
