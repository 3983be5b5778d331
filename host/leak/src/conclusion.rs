//! The conclusion of a study: what it says about the plugin, as an exit code for a CI.

use serde::Serialize;

use super::finding::Study;
use super::known::Leak;
use super::verdict::Verdict;

/// What a study says about the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// There is a leak that is not known.
    Leaks,
    /// Only known leaks were found.
    KnownLeaks,
    /// No leak is visible, but the heap cannot be read, the instance ended, its outcomes changed, or no collection was seen in a
    /// run with other inputs.
    Unknown,
    /// The plugin's language has a collector, and no collection was seen.
    Uncollected,
    /// Nothing grows over the rounds, but something is kept for each input.
    Suspicion,
    /// Nothing leaks.
    NoLeak,
}

impl Conclusion {
    /// The conclusion of a study with these leaks.
    pub fn of(study: &Study, leaks: &[Leak]) -> Self {
        // A known leak must not hide other results, so it is checked last.
        match () {
            () if study.is_uncollected() => Self::Uncollected,
            () if leaks.iter().any(|leak| leak.known.is_none()) => Self::Leaks,
            () if study.classes.iter().any(|class| class.finding.verdict == Verdict::Uncollected) => Self::Uncollected,
            () if !study.heap_is_known || !study.unanswered.is_empty() => Self::Unknown,
            () if suspicious_inputs(study) > 0 => Self::Suspicion,
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
            Self::Uncollected => 4,
        }
    }
}

/// The number of inputs that each left a block in the first round. Classes that leak are not counted, because their
/// blocks are a part of the leak.
pub fn suspicious_inputs(study: &Study) -> usize {
    let steady = study.classes.iter().filter(|class| class.finding.verdict != Verdict::Leaks);
    let by_class = steady.map(|class| class.kept_in_first_round).sum();
    if study.leaks() { by_class } else { by_class.max(study.kept_in_first_round) }
}
