//! Whether the server is ready for new requests, and why it is not.

use super::app::App;
use crate::base::telemetry;

/// Why the server is not ready. The texts have no names of pipelines, because readiness needs no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// The server was asked to stop.
    #[error("the server is about to stop")]
    Stopping,
    /// A background task or thread has ended because of a panic, and cannot be restarted.
    #[error("the background task `{0}` has ended and cannot be restarted, the log says why; restart the server")]
    TaskEnded(&'static str),
    /// A pipeline cannot run.
    #[error(
        "the device of a pipeline is out of service; `GET /v2/models/{{model}}/ready` and `plimsoll_model_in_service` in \
         `GET /metrics` show which one"
    )]
    OutOfService,
}

impl App {
    /// Returns the first reason why the server is not ready for new requests; `None` if it is ready.
    pub fn not_ready(&self) -> Option<NotReady> {
        let served = self.served().load();
        let is_in_service = || served.routes.values().all(|route| route.stable.is_in_service());
        self.not_running().or_else(|| (!is_in_service()).then_some(NotReady::OutOfService))
    }

    /// Returns true if the server is ready for new requests: it runs, and no pipeline is out of service.
    pub fn is_ready(&self) -> bool {
        self.not_ready().is_none()
    }

    /// Returns true if the server was not asked to stop, and all background tasks and threads run.
    pub fn is_running(&self) -> bool {
        self.not_running().is_none()
    }

    fn not_running(&self) -> Option<NotReady> {
        if self.stopping.has_begun() {
            return Some(NotReady::Stopping);
        }
        let ended = self.records.background.ended().first().copied();
        let ended = ended.or_else(|| (!self.runtime.epoch_thread().is_running).then_some("epoch"));
        ended.or_else(|| (!telemetry::is_running()).then_some("log")).map(NotReady::TaskEnded)
    }
}
