//! The progress of an access, and where its path leads.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::no_answer::NoAnswer;
use crate::base::path_steps::{self, Step};

/// The progress of one access.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) bytes: AtomicU64,
    /// True if nothing waits for the result any more.
    pub(super) is_abandoned: AtomicBool,
    /// The steps of the path that were found.
    steps: Mutex<Vec<Step>>,
}

/// The blocked accesses that refuse a new one, if it leads to the same place.
pub(super) struct Refusing {
    /// Those to the same path.
    pub(super) same_path: Vec<Arc<Progress>>,
    /// The file systems with many of them.
    pub(super) file_systems: Vec<u64>,
}

impl Progress {
    /// Notes the steps of the path. Goes no further where another access with the same steps is blocked, or where other files of
    /// the file system do not answer.
    pub(super) fn follow(&self, path: &Path, refusing: &Refusing) -> Result<(), NoAnswer> {
        let is_elsewhere = || {
            let steps = self.steps();
            refusing.same_path.iter().all(|other| *other.steps() != *steps)
        };
        let mut reason = NoAnswer::StillBlocked;
        let is_open = is_elsewhere()
            && path_steps::follow(path, |step| {
                if step.device().is_some_and(|device| refusing.file_systems.contains(&device)) {
                    reason = NoAnswer::FileSystem;
                    return false;
                }
                self.steps().push(step);
                is_elsewhere()
            });
        if is_open { Ok(()) } else { Err(reason) }
    }

    /// The file system to which the last step leads.
    pub(super) fn device(&self) -> Option<u64> {
        self.steps().last().and_then(Step::device)
    }

    fn steps(&self) -> MutexGuard<'_, Vec<Step>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
