//! How much of the host is in use, for the metrics.

use super::admission::Admission;
use super::app::App;
use super::byte_budget::ByteBudget;
use super::load::Load;
use crate::records::metrics::load::{HostLoad, PipelineLoad, RunLimits, Used};

impl App {
    /// How much of the host is in use now.
    pub fn load(&self) -> HostLoad {
        let load = Load::of(&self.admission);
        let used = |budget: &ByteBudget| Used { used: budget.used(), limit: budget.total() };
        let Admission { bodies, uploads, replies, .. } = &*self.admission;
        let server = RunLimits { running: load.max_concurrency, waiting: load.max_queue };
        let served = self.served().load();
        let pipelines = served.routes.iter().map(|(name, route)| {
            let (running, waiting) = load.pipelines.get(name.as_str()).copied().unwrap_or_default();
            let limits = RunLimits {
                running: route.stable.max_concurrency.map(|most| most.min(server.running)),
                waiting: route.stable.max_queue.map(|most| most.min(server.waiting)),
            };
            PipelineLoad { name: name.clone(), running, waiting, limits }
        });
        HostLoad {
            pipelines: pipelines.collect(),
            limits: server,
            budgets: [("bodies", used(bodies)), ("uploads", used(uploads)), ("replies", used(replies))],
            connections: [
                ("callers", self.connections.callers.used()),
                ("administration", self.connections.administration.used()),
            ],
        }
    }
}
