//! The results of a study.

mod contents;
mod languages;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::allocations::Totals;
use super::census::{BlockKind, Difference, Group};
use super::debug_info::Location;
use super::record::Call;
use super::verdict::{Finding, Verdict};
pub use contents::OtherContents;
pub use languages::{CollectionReport, ObjectGrowth, PythonReport, TypeGrowth};
use plimsoll_runtime::identity::Identity;
use plimsoll_runtime::kind::StageKind;
use plimsoll_runtime::outcome::Outcome;

/// The place of what leaks if the files are given as they are.
pub const UNCHANGED: &str = "(unchanged files)";
/// The place of what leaks if each call gets other contents: other pixels, numbers or letters.
pub const CONTENTS: &str = "(other contents)";

/// The results of one study. Serialized as `report.json`.
#[derive(Debug, Serialize)]
pub struct Study {
    /// The plugin.
    pub plugin: Identity,
    /// The kind of stage that the plugin was run as.
    pub kind: StageKind,
    /// True if the heap could be walked. Otherwise only the size of linear memory is known.
    pub heap_is_known: bool,
    /// Number of complete rounds.
    pub rounds: usize,
    /// Number of samples in each round.
    pub samples: usize,
    /// A leak that occurs in one of this many calls of the run over all samples, or more often, would have been found.
    pub rarest_leak: usize,
    /// The reason, if the run ended before its last round.
    pub stopped: Option<String>,
    /// Why there is no answer if nothing leaks: the instance ended, its outcomes changed from round to round,
    /// or no collection was seen in a run with other inputs.
    pub unanswered: Vec<String>,
    /// What leaks if the files are given as they are, and not with other bytes in each call.
    pub unchanged: Elsewhere,
    /// What leaks if each call gets other contents, not only other bytes that decoders ignore.
    pub contents: Elsewhere,
    /// Samples that were left out because they end the instance, each with its outcome.
    pub excluded: Vec<(String, Outcome)>,
    /// The finding for all samples together.
    pub all: Finding,
    /// The finding for tensor bytes in host memory that cannot be freed because the guest has not dropped their
    /// handles.
    pub host: Finding,
    /// The finding for the number of resources of the host (tensors, streams, pollables, graphs, contexts) whose
    /// handles the guest has not dropped. The fields named `bytes` contain the number of resources.
    pub resources: Finding,
    /// The kinds of resources of which there are more at the end than after the first round, each with its growth.
    pub resource_kinds: BTreeMap<String, u64>,
    /// The finding for bytes of linear memory that the allocator does not own: pages that the plugin grew itself.
    pub beside_heap: Finding,
    /// The finding for bytes of the objects of JavaScript, without their buffers, which are on the heap.
    pub objects: Finding,
    /// The collector of the plugin's language, if it has one and is not in Python.
    pub collection: Option<CollectionReport>,
    /// The plugin's own functions that grow its memory, if that is what leaks.
    pub growers: Vec<Location>,
    /// Number of samples for which the first round left a block that is still in use; 0 if not nearly all did.
    pub kept_in_first_round: usize,
    /// The interpreter, if the plugin is in Python.
    pub python: Option<PythonReport>,
    /// The finding for what the runtime of the plugin's language allocates and never frees. It is no leak of the plugin.
    pub runtime: Finding,
    /// The objects that leak, by type; most bytes first. Empty if the plugin is not in Python.
    pub types: Vec<TypeGrowth>,
    /// For each type the bytes of its objects that a call made and that are in use at the end, by call; most bytes first.
    #[serde(skip)]
    pub types_by_call: Vec<(String, BTreeMap<usize, u64>)>,
    /// True if linear memory grows although the bytes in use do not: the heap is fragmented.
    pub fragments: bool,
    /// Each class of samples.
    pub classes: Vec<Class>,
    /// The survivors by what holds them; most bytes first.
    pub groups: Vec<Group>,
    /// The survivors by size; most bytes first.
    pub kinds: Vec<BlockKind>,
    /// The difference between the heap after the first round and at the end.
    pub difference: Vec<Difference>,
    /// Call stacks that allocated; most bytes in use first. Of a plugin in Python they have its functions only.
    pub stacks: Vec<StackReport>,
    /// The call stacks of a plugin in Python with the functions of its libraries between its own: of the interpreter, for
    /// example.
    #[serde(skip)]
    pub mixed_stacks: Vec<StackReport>,
    /// The reason, if there are no call stacks.
    pub no_stacks: Option<String>,
    /// True if the plugin has DWARF. Without DWARF, source lines and the names of statics are not known.
    pub has_debug_info: bool,
    /// Every call of the run over all samples.
    #[serde(skip)]
    pub calls: Vec<Call>,
}

/// A class of samples: those of one subfolder that have the same outcome.
#[derive(Debug, Clone, Serialize)]
pub struct Class {
    /// The outcome of the samples.
    pub outcome: Outcome,
    /// The subfolder of the corpus.
    pub folder: String,
    /// Number of samples.
    pub samples: usize,
    /// Number of samples for which the first round left a block that is still in use; 0 if not nearly all did. A cache that is
    /// keyed by content looks like this.
    pub kept_in_first_round: usize,
    /// The most calls with these samples in one instance.
    pub calls: usize,
    /// A leak that occurs in one of this many of these calls, or more often, would have been found.
    pub rarest_leak: usize,
    /// The finding for these samples alone.
    #[serde(flatten)]
    pub finding: Finding,
    /// What the numbers of the finding count.
    pub measure: Measure,
    /// What else leaks, by another measure.
    pub also: Vec<LeakingMeasure>,
    /// The samples that cause the growth, if only some do.
    pub growing: Option<Growing>,
    /// The objects of JavaScript of which there are more and more; most first.
    pub objects: Vec<ObjectGrowth>,
    /// Which samples were also run with other contents; `None` if there was no such run.
    pub other_contents: Option<OtherContents>,
}

/// A finding of something that leaks.
#[derive(Debug, Clone, Serialize)]
pub struct LeakingMeasure {
    /// The finding.
    #[serde(flatten)]
    pub finding: Finding,
    /// What its numbers count.
    pub measure: Measure,
}

/// What leaks with other inputs than those of the run over all samples, and not with those.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Elsewhere {
    /// What leaks.
    pub leaks: Vec<LeakingMeasure>,
    /// The survivors of all classes by what holds them; most bytes first.
    pub groups: Vec<Group>,
}

/// What the numbers of a finding count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Bytes of the heap; of linear memory if the heap is not known.
    Heap,
    /// Bytes of tensors that the host holds.
    Tensors,
    /// Bytes of linear memory beside the heap.
    Pages,
    /// Handles of resources of the host.
    Handles,
    /// Bytes of the objects of JavaScript, without their buffers, which are on the heap.
    Objects,
}

impl Measure {
    /// Returns true if bytes are counted, not handles.
    pub fn is_bytes(self) -> bool {
        self != Self::Handles
    }

    /// The unit in reports, after a number.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Heap => "",
            Self::Tensors => " of tensors",
            Self::Pages => " of pages",
            Self::Handles => " handles",
            Self::Objects => " of objects",
        }
    }
}

/// The samples of a class that cause its growth.
#[derive(Debug, Clone, Serialize)]
pub struct Growing {
    /// Number of these samples.
    pub samples: usize,
    /// Bytes of the smallest of these samples.
    pub smallest: usize,
    /// Bytes of the largest other sample of the class.
    pub largest_other: usize,
    /// The name of the smallest of these samples.
    pub example: String,
}

/// A call stack and what it allocated.
#[derive(Debug, Clone, Serialize)]
pub struct StackReport {
    /// Index of the class.
    pub class: usize,
    /// The functions, innermost first, including inlined functions.
    pub frames: Vec<Location>,
    /// What the call stack allocated.
    #[serde(flatten)]
    pub totals: Totals,
}

impl Study {
    /// The findings for all samples together: the finding of the heap, and all other findings that are not steady.
    pub fn whole(&self) -> Vec<(&'static str, &Finding, Measure)> {
        let others = [
            ("(host tensors)", &self.host, Measure::Tensors),
            ("(host handles)", &self.resources, Measure::Handles),
            ("(own pages)", &self.beside_heap, Measure::Pages),
            ("(objects)", &self.objects, Measure::Objects),
        ];
        let others = others.into_iter().filter(|(_, finding, _)| finding.verdict != Verdict::Steady);
        std::iter::once(("(all)", &self.all, Measure::Heap)).chain(others).collect()
    }

    /// The verdict for all samples together: that of the heap, or if it is steady, of something else that is not.
    pub fn verdict(&self) -> Verdict {
        let mut verdicts = self.whole().into_iter().map(|(_, finding, _)| finding.verdict);
        verdicts.find(|verdict| *verdict != Verdict::Steady).unwrap_or(Verdict::Steady)
    }

    /// The call stacks with all functions that are known.
    pub fn full_stacks(&self) -> &[StackReport] {
        if self.mixed_stacks.is_empty() { &self.stacks } else { &self.mixed_stacks }
    }

    /// Returns true if the plugin's language has a collector, and no collections were seen.
    pub fn is_uncollected(&self) -> bool {
        self.collection.as_ref().is_some_and(|collection| !collection.is_seen)
    }

    /// Returns true if anything leaks, known or not.
    pub fn leaks(&self) -> bool {
        let classes = self.classes.iter().map(|class| &class.finding);
        let whole = [&self.all, &self.host, &self.resources, &self.beside_heap, &self.objects];
        whole.into_iter().chain(classes).any(|finding| finding.verdict == Verdict::Leaks)
            || self.elsewhere().any(|(_, found)| !found.leaks.is_empty())
    }

    /// What leaks with other inputs, each with its place in reports.
    pub fn elsewhere(&self) -> impl Iterator<Item = (&'static str, &Elsewhere)> {
        [(UNCHANGED, &self.unchanged), (CONTENTS, &self.contents)].into_iter()
    }
}

impl Class {
    /// The class's name in reports.
    pub fn name(&self) -> String {
        if self.folder.is_empty() {
            return self.outcome.as_str().to_owned();
        }
        format!("{} in {}", self.outcome.as_str(), self.folder)
    }

    /// The findings of what leaks, each with its measure.
    pub fn leaking(&self) -> impl Iterator<Item = (&Finding, Measure)> {
        let first = (self.finding.verdict == Verdict::Leaks).then_some((&self.finding, self.measure));
        first.into_iter().chain(self.also.iter().map(|also| (&also.finding, also.measure)))
    }
}

impl StackReport {
    /// The innermost function that is the plugin's own code and not a library's.
    pub fn own(&self) -> Option<&Location> {
        self.frames.iter().find(|location| !location.is_library())
    }
}
