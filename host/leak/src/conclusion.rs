//! What a study says about the plugin, for a CI.

use serde::Serialize;

use super::finding::Study;
use super::known::Leak;
use super::verdict::Verdict;

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
        // A leak that is known hides nothing else. What a class that leaks keeps in the first round is a part of its leak.
        let others = study.classes.iter().filter(|class| class.finding.verdict != Verdict::Leaks);
        let kept_by_all = if leaks.is_empty() { study.kept_in_first_round } else { 0 };
        let is_suspicious = others.map(|class| class.kept_in_first_round).chain([kept_by_all]).any(|kept| kept > 0);
        match () {
            () if leaks.iter().any(|leak| leak.known.is_none()) => Self::Leaks,
            () if !study.heap_is_known => Self::Unknown,
            () if is_suspicious => Self::Suspicion,
            () if !leaks.is_empty() => Self::KnownLeaks,
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
