//! Shadow runs: a share of the runs of an infer stage also runs on a shadow chip, after the request has ended, and its outputs
//! are compared with those of the chip that answered. A step that runs for each item has several runs in a request.
//!
//! A shadow run never delays or fails a request. It has slots of its own, waits in a queue of its own, and its tensors
//! count against a byte budget of its own; what finds no room is skipped and counted. It holds its slot and its bytes until
//! the model run has really ended, so devices that hang cannot use more and more memory. `shadow/tap.rs` takes the
//! tensors of a request, `shadow/run.rs` runs the shadow chip.

mod run;
mod tap;

use std::sync::Arc;
use std::time::Duration;

use plimsoll_runtime::stage::Request;
use plimsoll_runtime::tensor::Tensors;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::byte_budget::{ByteBudget, Reservation};
use crate::config::Server;
use crate::deploy::ServedPipeline;
use crate::records::{Records, RequestRecord};

/// The shadow runs of a server, and their limits.
pub struct Shadows {
    /// The runs that wait or run.
    places: Arc<Semaphore>,
    /// The runs that run.
    slots: Arc<Semaphore>,
    bytes: Arc<ByteBudget>,
    records: Arc<Records>,
    runtime: Handle,
    /// True once the server stops.
    is_stopping: watch::Sender<bool>,
}

/// What a shadow run holds from the moment at which its tensors are kept.
struct Claim {
    _place: OwnedSemaphorePermit,
    bytes: Reservation,
}

impl Shadows {
    /// No shadow runs yet. Call it on a tokio runtime, which will run them.
    pub fn new(server: &Server, records: &Arc<Records>) -> Arc<Self> {
        let Server { max_shadow_runs, max_shadow_queue, shadow_budget, .. } = server;
        let runs = *max_shadow_runs as usize;
        Arc::new(Self {
            places: Arc::new(Semaphore::new(runs.saturating_add(*max_shadow_queue as usize))),
            slots: Arc::new(Semaphore::new(runs)),
            bytes: ByteBudget::new(shadow_budget.as_u64(), 0, Duration::ZERO),
            records: Arc::clone(records),
            runtime: Handle::current(),
            is_stopping: watch::Sender::new(false),
        })
    }

    /// If the pipeline has a shadow for the chip of this request, keeps the tensors of the runs that it takes from now on, and
    /// starts shadow runs when the record is dropped.
    pub fn follow(self: &Arc<Self>, pipeline: &Arc<ServedPipeline>, request: &Request, record: &mut RequestRecord) {
        if pipeline.shadows.iter().any(|shadow| shadow.chip != record.chip()) {
            let tap = tap::Tap::new(self, pipeline, request, record.chip(), record.kept_bytes());
            record.set_shadow(Arc::new(tap));
        }
    }

    /// Ends the shadow runs that wait or run, and those that come.
    pub fn stop(&self) {
        self.is_stopping.send_replace(true);
    }
}

/// The bytes that tensors and their names hold.
fn size(tensors: &Tensors) -> u64 {
    tensors.iter().map(|(name, tensor)| (name.len() + tensor.data.len()) as u64).sum()
}
