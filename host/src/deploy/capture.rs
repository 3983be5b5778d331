//! A pipeline's capture: a share of its requests that is kept with the replies.

use std::sync::Arc;

use super::request_share::RequestShare;
use crate::records::recording::InputRecorder;

/// A share of the requests that is kept with the replies.
pub struct Capture {
    /// Writes them.
    pub recorder: Arc<InputRecorder>,
    selection: RequestShare,
}

impl Capture {
    pub(super) fn new(recorder: Arc<InputRecorder>, share: f64) -> Self {
        Self { recorder, selection: RequestShare::new(share) }
    }

    /// Returns true if the next request is kept.
    pub fn takes_next(&self) -> bool {
        self.selection.takes_next()
    }
}
