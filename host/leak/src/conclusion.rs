//! What a study says about the plugin, for a CI.

use serde::Serialize;

use super::finding::Study;
use super::known::Leak;

/// What a study says about the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// Something leaks that is not known.
    Leaks,
    /// Nothing leaks but what is known.
    KnownLeaks,
    /// Nothing grows that can be seen, but the heap is not known.
    Unknown,
    /// Nothing grows over the rounds, but something is kept for each input.
    Suspicion,
    /// Nothing leaks.
    NoLeak,
}

impl Conclusion {
    /// What a study and its leaks say.
    pub fn of(study: &Study, leaks: &[Leak]) -> Self {
        let kept = study.classes.iter().map(|class| class.kept_in_first_round);
        match () {
            () if leaks.iter().any(|leak| leak.known.is_none()) => Self::Leaks,
            () if !leaks.is_empty() => Self::KnownLeaks,
            () if !study.heap_is_known => Self::Unknown,
            () if kept.chain([study.kept_in_first_round]).any(|kept| kept > 0) => Self::Suspicion,
            () => Self::NoLeak,
        }
    }

    /// The exit code of `plimsoll leak`.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::NoLeak | Self::KnownLeaks => 0,
            Self::Leaks => 1,
            Self::Unknown => 2,
            Self::Suspicion => 3,
        }
    }
}
