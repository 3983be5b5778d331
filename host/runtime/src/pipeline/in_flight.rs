//! A request in a graph of steps.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinError;

use super::graph::Graph;
use crate::scheduling::Scheduler;
use crate::stage::{Bundle, Request};

/// A request in a graph. Steps one after the other copy nothing of it.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) graph: &'a Arc<Graph>,
    pub(super) chip: &'a str,
    pub(super) request: &'a Request,
    /// The right to use an instance in addition to that of the request itself.
    pub(super) permits: &'a Arc<Semaphore>,
}

/// A copy for tasks, which run at the same time.
pub(super) struct SharedRun {
    graph: Arc<Graph>,
    chip: String,
    request: Request,
    pub(super) permits: Arc<Semaphore>,
}

impl<'a> Run<'a> {
    /// A request on a chip.
    pub(super) fn new(graph: &'a Arc<Graph>, chip: &'a str, request: &'a Request, scheduler: &'a Scheduler) -> Self {
        Self { graph, chip, request, permits: scheduler.extra_runs() }
    }

    /// A copy for tasks.
    pub(super) fn shared(&self) -> Arc<SharedRun> {
        let Self { graph, chip, request, permits } = *self;
        let (graph, permits) = (Arc::clone(graph), Arc::clone(permits));
        Arc::new(SharedRun { graph, chip: chip.to_owned(), request: request.clone(), permits })
    }
}

impl SharedRun {
    /// The request.
    pub(super) fn run(&self) -> Run<'_> {
        Run { graph: &self.graph, chip: &self.chip, request: &self.request, permits: &self.permits }
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
