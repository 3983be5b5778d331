//! What is reported about the batches of a model.

use std::time::Duration;

/// Observes the batches of a model.
pub trait BatchObserver: Send + Sync {
    /// The name of the model, for the log.
    fn model(&self) -> &str;
    /// A batch of `rows` rows for `requests` runs was formed; the first of them had waited for `waited`.
    fn batch(&self, rows: u32, requests: usize, waited: Duration);
    /// A run got `rows` more rows to reach a prepared size.
    fn padded(&self, rows: u32);
    /// This many bytes of inputs were written into the buffers of a batch.
    fn copied(&self, bytes: usize);
    /// The task that forms batches panicked. It continues with later runs.
    fn panicked(&self);
}
