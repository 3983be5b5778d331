//! A run in the background.

use std::sync::Arc;

use super::{CancelOnDrop, LoadedModel};
use crate::nn::cancellation::Cancellation;
use crate::nn::error::RunError;
use crate::nn::model::Model;
use crate::scheduling::{BackgroundRun, run_at_low_priority};
use crate::tensor::{Tensor, Tensors};

impl LoadedModel {
    /// Runs `model` at a low priority, as soon as no other run waits for it. It needs no permit of the backend: a device
    /// that hangs would keep it, and runs of other models would wait for it. The thread keeps the permit of this model and
    /// `background` until the run has really ended.
    pub(super) async fn run_in_background(
        &self,
        model: &Arc<dyn Model>,
        inputs: Vec<Tensor>,
        background: BackgroundRun,
    ) -> Result<Tensors, RunError> {
        let permit = background.acquire_idle(&self.model_permits).await;
        let cancellation = Arc::new(Cancellation::default());
        let _end = CancelOnDrop(Arc::clone(&cancellation));
        let model = Arc::clone(model);
        let run = run_at_low_priority("shadow", move || {
            let _held = (permit, background);
            model.run_unless_cancelled(&inputs, &cancellation)
        });
        match run.await {
            Ok(Some(result)) => result,
            Ok(None) => Err(RunError::Panicked),
            Err(_) => Err(RunError::Ended),
        }
    }
}
