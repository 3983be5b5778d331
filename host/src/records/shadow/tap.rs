//! What the record of a request passes on for a shadow run.

use std::time::Duration;

use plimsoll_runtime::tensor::Tensors;

use crate::records::recording::Recording;

/// Gets the tensors of one request.
pub trait ShadowTap: Send {
    /// The infer stage is about to run on these inputs. `body` is the size of the request's body if it may be recorded.
    fn inputs(&mut self, inputs: &Tensors, body: u64);

    /// The infer stage answered on this chip.
    fn outputs(&mut self, chip: &str, outputs: &Tensors);

    /// The request has ended.
    fn ended(self: Box<Self>, end: ShadowEnd);
}

/// The end of a request.
pub struct ShadowEnd {
    /// How long the infer stage ran; `None` if it did not.
    pub time: Option<Duration>,
    /// The request's input, if the pipeline records inputs.
    pub recording: Option<Recording>,
}
