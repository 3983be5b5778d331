//! A request in a graph of steps.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinError;

use super::graph::Graph;
use crate::scheduling::Scheduler;
use crate::stage::{Bundle, Request};

/// A request in a graph.
pub(super) struct Run {
    pub(super) graph: Arc<Graph>,
    pub(super) chip: String,
    pub(super) request: Request,
    /// The right to use an instance in addition to that of the request itself.
    pub(super) permits: Arc<Semaphore>,
}

impl Run {
    /// A request on a chip.
    pub(super) fn new(graph: &Arc<Graph>, chip: &str, request: &Request, scheduler: &Scheduler) -> Self {
        let permits = Arc::clone(scheduler.extra_runs());
        Self { graph: Arc::clone(graph), chip: chip.to_owned(), request: request.clone(), permits }
    }
}

/// What a step takes.
#[derive(Clone)]
pub struct StepInput {
    /// The item, from 0, if the step runs for each item.
    pub item: Option<usize>,
    /// The tensors and the context.
    pub input: Bundle,
}

/// Continues the panic of a task in the task of the request.
pub(super) fn resume<T>(error: JoinError) -> T {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => std::panic::resume_unwind(Box::new(format!("a step was cancelled: {error}"))),
    }
}
