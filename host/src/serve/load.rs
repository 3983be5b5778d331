//! How busy the server is: the requests that run and wait, next to their limits.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::admission::Admission;

/// The requests that run and wait now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Load {
    /// Requests, or images of a request, whose stages run.
    pub running: usize,
    /// The most that may run (`server.max_concurrency`).
    pub max_concurrency: u32,
    /// Requests, or images of a request, that wait for a slot to run.
    pub queued: usize,
    /// The most that may wait (`server.max_queue`).
    pub max_queue: u32,
    /// Those that run and those that wait, by pipeline. Pipelines without either are absent.
    #[serde(skip)]
    pub pipelines: BTreeMap<Arc<str>, (usize, usize)>,
}

impl Load {
    /// Counts the requests that have a slot to run, and those that wait for one.
    pub fn of(admission: &Admission) -> Self {
        let pipelines = admission.run_slots.counts();
        Self {
            running: pipelines.values().map(|(running, _)| running).sum(),
            max_concurrency: admission.max_concurrency,
            queued: pipelines.values().map(|(_, waiting)| waiting).sum(),
            max_queue: admission.max_queue,
            pipelines,
        }
    }
}
