//! A pipeline's shadow: a chip that also computes a share of the requests.

use super::request_share::RequestShare;
use crate::config::ShadowRules;

/// A chip that also computes a share of the requests, to compare its outputs.
pub struct Shadow {
    /// The chip, which is one of the pipeline and not its default.
    pub chip: String,
    /// The part of the requests, from 0 to 1.
    pub share: f64,
    selection: RequestShare,
}

impl Shadow {
    pub(super) fn new(rules: &ShadowRules) -> Self {
        Self { chip: rules.chip.clone(), share: rules.share, selection: RequestShare::new(rules.share) }
    }

    /// Returns true if the shadow computes the next request, too.
    pub fn takes_next(&self) -> bool {
        self.selection.takes_next()
    }
}
