//! What a study finds.

use serde::Serialize;

use super::allocations::Totals;
use super::census::{BlockKind, Difference, Group};
use super::debug_info::Location;
use super::run::Call;
use super::verdict::{Growth, Held, Verdict};
use plimsoll_runtime::identity::Identity;
use plimsoll_runtime::kind::StageKind;
use plimsoll_runtime::outcome::Outcome;

/// What was found. Written as `report.json`.
#[derive(Debug, Serialize)]
pub struct Study {
    /// Which plugin.
    pub plugin: Identity,
    /// The kind of stage that it was run as.
    pub kind: StageKind,
    /// Whether its heap could be walked; otherwise only linear memory was seen.
    pub heap_is_known: bool,
    /// Rounds that were run.
    pub rounds: usize,
    /// Samples in each round.
    pub samples: usize,
    /// Why it ended before its last round.
    pub stopped: Option<String>,
    /// Samples that end an instance, and how; they were left out.
    pub excluded: Vec<(String, Outcome)>,
    /// All samples together.
    pub all: Finding,
    /// Bytes of tensors that the host holds because the guest does not let go of their handles.
    pub host: Finding,
    /// Whether linear memory grows although the blocks in it do not: it is fragmented.
    pub fragments: bool,
    /// Each class of samples.
    pub classes: Vec<Class>,
    /// Who holds the survivors; most bytes first.
    pub groups: Vec<Group>,
    /// What the survivors are; most bytes first.
    pub kinds: Vec<BlockKind>,
    /// What is there at the end and was not after the first round.
    pub difference: Vec<Difference>,
    /// Call stacks that allocated; most bytes in use first.
    pub stacks: Vec<StackReport>,
    /// Why there are no call stacks.
    pub no_stacks: Option<String>,
    /// Whether the plugin carries DWARF: without it there are no lines and no names of statics.
    pub has_debug_info: bool,
    /// Every call of the first run.
    #[serde(skip)]
    pub calls: Vec<Call>,
}

/// A verdict with its figures.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// The verdict.
    pub verdict: Verdict,
    /// Growth per request.
    pub growth: Growth,
    /// What was held before the first round and after each; empty for a class that was not run alone.
    pub held: Vec<Held>,
}

/// A class of samples: those of one subfolder that end in one way.
#[derive(Debug, Clone, Serialize)]
pub struct Class {
    /// How they end.
    pub outcome: Outcome,
    /// The corpus's subfolder.
    pub folder: String,
    /// How many samples.
    pub samples: usize,
    /// The verdict over these samples alone.
    #[serde(flatten)]
    pub finding: Finding,
    /// Which of its samples make it grow, where not all do.
    pub growing: Option<Growing>,
}

/// The samples of a class that make it grow.
#[derive(Debug, Clone, Serialize)]
pub struct Growing {
    /// How many of the class's samples.
    pub samples: usize,
    /// The smallest of them in bytes.
    pub smallest: usize,
    /// The largest sample in bytes that does not.
    pub largest_other: usize,
    /// One of them.
    pub example: String,
}

/// A call stack and what it allocated.
#[derive(Debug, Clone, Serialize)]
pub struct StackReport {
    /// Index of the class.
    pub class: usize,
    /// The innermost function first, inlined ones included.
    pub frames: Vec<Location>,
    /// What it allocated.
    #[serde(flatten)]
    pub totals: Totals,
}

impl Class {
    /// The class's name in reports.
    pub fn name(&self) -> String {
        if self.folder.is_empty() {
            return self.outcome.as_str().to_owned();
        }
        format!("{} in {}", self.outcome.as_str(), self.folder)
    }
}

impl StackReport {
    /// The innermost function that is the plugin's own, and not of the libraries that allocate on its behalf.
    pub fn own(&self) -> Option<&Location> {
        self.frames.iter().find(|location| !location.is_library())
    }
}
