//! The stages that are still in use, by their plugins.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use plimsoll_runtime::stage::StageCore;

/// Every stage that is still in use: by a pipeline that serves, by a version that is kept for rollback, or by the current
/// build.
#[derive(Clone, Default)]
pub(super) struct KnownStages {
    by_digest: HashMap<Arc<str>, Vec<Weak<StageCore>>>,
}

impl KnownStages {
    /// A stage of the plugin with this digest.
    pub(super) fn find(&self, digest: &str, is_it: impl Fn(&Arc<StageCore>) -> bool) -> Option<Arc<StageCore>> {
        self.by_digest.get(digest)?.iter().filter_map(Weak::upgrade).find(is_it)
    }

    /// Adds a stage.
    pub(super) fn add(&mut self, stage: &Arc<StageCore>) {
        let stages = self.by_digest.entry(Arc::clone(&stage.plugin.digest)).or_default();
        stages.push(Arc::downgrade(stage));
    }

    /// Forgets the stages that are no longer in use.
    pub(super) fn retain_used(&mut self) {
        self.by_digest.retain(|_, stages| {
            stages.retain(|stage| stage.strong_count() > 0);
            !stages.is_empty()
        });
    }

    /// Adds those that others know.
    pub(super) fn join(&mut self, others: &Self) {
        for (digest, stages) in &others.by_digest {
            let own = self.by_digest.entry(Arc::clone(digest)).or_default();
            for stage in stages {
                if !own.iter().any(|known| known.ptr_eq(stage)) {
                    own.push(Weak::clone(stage));
                }
            }
        }
    }
}
