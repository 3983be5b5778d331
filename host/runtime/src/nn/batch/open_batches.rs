//! The batches of a model that are open at the same time.

use std::collections::VecDeque;

use super::buffers::SpareBuffers;
use super::open::OpenBatch;
use super::waiting::Waiting;

/// The open batches of a model, in the order of their first runs. There is more than one if runs have different shapes,
/// or if the batch that a run fits has no room.
#[derive(Default)]
pub(super) struct OpenBatches(VecDeque<OpenBatch>);

impl OpenBatches {
    /// Adds a run to the first batch that it fits. Returns the bytes that were written.
    pub(super) fn add(&mut self, waiting: Waiting, max_batch: u32, spare: &mut SpareBuffers) -> usize {
        let mut waiting = Box::new(waiting);
        for batch in &mut self.0 {
            match batch.take(*waiting, max_batch, spare) {
                Ok(written) => return written,
                Err(back) => waiting = back,
            }
        }
        self.0.push_back(OpenBatch::new(*waiting));
        0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &OpenBatch> {
        self.0.iter()
    }

    /// A batch was sent before the oldest `count`.
    pub(super) fn overtake(&mut self, count: usize) {
        self.0.iter_mut().take(count).for_each(OpenBatch::was_overtaken);
    }

    /// Removes a batch.
    pub(super) fn remove(&mut self, index: usize) -> Option<OpenBatch> {
        self.0.remove(index)
    }
}
