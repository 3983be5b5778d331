//! Judges a run: does the heap leak, and which of its blocks? Does anything else grow?

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;

use super::containers::{self, Certainty, Container, Containers};
use super::heap::Block;
use super::octaves;
use super::population::{self, Population, Trend};
use super::record::{Call, Record, Survivor};
use super::rounds::{ENOUGH_CALLS, ENOUGH_ENTRIES};
use super::verdict::{self, Finding, Growth, Held, Verdict};

/// If fewer blocks than this leak per round, chance decides how many fall into the second half. Then bytes per request are
/// measured from the first to the last leaked block there.
const SPARSE: f64 = 2.0;

/// Least bytes of a chunk of a list that gets one for hundreds of entries.
const CHUNK: u32 = 2_048;

/// The blocks that leak.
#[derive(Debug, Clone, Default)]
pub struct Leaking {
    sizes: HashSet<u32>,
    addresses: HashSet<u32>,
    /// Sizes that are in the sum with those that leak, but replace their blocks.
    counted: HashSet<u32>,
    /// True if only the sum of all blocks shows the leak.
    is_everything: bool,
}

impl Leaking {
    /// Returns true if the block is part of the leak, or if it is not known which blocks leak.
    pub fn contains(&self, block: Block) -> bool {
        let is_known = !self.sizes.is_empty() || !self.addresses.is_empty();
        self.is_everything || !is_known || self.addresses.contains(&block.address) || self.sizes.contains(&block.size)
    }
}

/// The result of judging a heap.
pub struct HeapJudgement {
    /// The verdict and its numbers.
    pub finding: Finding,
    /// What leaks.
    pub leaking: Leaking,
    /// True if more rounds can change the verdict.
    pub is_open: bool,
    /// True if a container grows of which it is not known whether it leaks. It may be enlarged so rarely that nothing grew in
    /// the second half of the rounds.
    pub has_growing_container: bool,
    /// True if one of them would leak if more had come into it.
    pub has_few: bool,
}

/// Judges the heap of a run; its linear memory if the heap is not known. `record` is what was held after each round,
/// `survivors` are the blocks at the end.
pub fn heap(record: &Record, calls: &[Call], survivors: &[Survivor], grown: &Containers) -> HeapJudgement {
    if !record.heap_is_known {
        let finding = series(&record.linear, record.requests);
        let is_open = finding.verdict == Verdict::WarmingUp;
        let leaking = Leaking::default();
        return HeapJudgement { finding, leaking, is_open, has_growing_container: false, has_few: false };
    }
    let round = |survivor: &Survivor| survivor.born.and_then(|call| calls.get(call)).map_or(0, |call| call.round);
    let births: Vec<(u32, usize)> = survivors.iter().map(|one| (one.block.size, round(one))).collect();
    let mut leaking = Leaking::default();
    let (mut is_open, mut has_late_chunks) = (false, false);
    let mut together = Population::default();
    let (mut certain, mut uncertain, mut members, mut open) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (sizes, population) in population::by_size(&record.sizes, &births) {
        let trend = population.trend();
        is_open |= matches!(trend, Trend::Open { .. });
        has_late_chunks |= sizes.len() == 1 && sizes.start >= CHUNK && population.has_grown_late();
        let is_certain = population.is_certain();
        if sizes.len() == 1 && !is_certain {
            together.add(&population);
            members.push((sizes.start, population.has_kept()));
        }
        match trend {
            trend if trend.leaks() && is_certain => certain.push(sizes),
            trend if trend.leaks() => uncertain.push(sizes),
            Trend::Open { .. } if sizes.len() == 1 && population.has_kept() => open.push(sizes.start),
            _ => {}
        }
    }
    if !uncertain.is_empty() {
        // A few blocks of one size can look like a leak by accident. All sizes of this kind together cannot.
        let trend = together.trend();
        is_open |= matches!(trend, Trend::Open { .. });
        if trend.leaks() {
            certain.append(&mut uncertain);
            // Each size alone may not look like a leak. Those that replace their blocks add nothing to the sum, but are not
            // a part of the leak.
            for (size, has_kept) in members {
                if has_kept { &mut leaking.sizes } else { &mut leaking.counted }.insert(size);
            }
        }
    }
    let known: BTreeSet<u32> = record.sizes.iter().flat_map(BTreeMap::keys).copied().collect();
    leaking.sizes.extend(certain.into_iter().flat_map(|sizes: Range<u32>| known.range(sizes)));
    let everything = population::all(&record.sizes, &births);
    let (mut in_containers, mut is_growing, mut has_few) = (Growth::default(), false, false);
    let arenas = containers::arenas(survivors.iter().map(|one| (one.block, one.born)));
    let growing = |container| Some((container, Container::growth(container, calls.len(), record)?));
    let mut found: Vec<_> = grown.all().chain(&arenas).filter_map(growing).collect();
    if !record.is_cut_short {
        containers::mark_few(&mut found, if record.is_at_its_end { ENOUGH_ENTRIES } else { ENOUGH_CALLS });
    }
    for (container, growth) in found {
        // It may be a table of what was seen. Then fewer and fewer blocks come with it, too.
        let all_slow = everything.slows();
        is_open |= growth.is_slower || all_slow || growth.certainty != Certainty::Leaks;
        is_growing |= matches!(growth.certainty, Certainty::Growing | Certainty::Few);
        has_few |= growth.certainty == Certainty::Few;
        if growth.is_slower && all_slow || growth.certainty != Certainty::Leaks {
            continue;
        }
        in_containers.bytes += growth.bytes;
        in_containers.bytes_within += growth.within;
        leaking.addresses.extend(&container.blocks);
    }
    if leaking.sizes.is_empty() && !leaking.addresses.is_empty() {
        // What may leak by itself is in the container that does, unless it is a container, too.
        let containers: HashSet<u32> = grown.all().flat_map(|container| container.blocks.iter().copied()).collect();
        let enlarged = survivors.iter().filter(|one| containers.contains(&one.block.address));
        let enlarged: HashSet<u32> = enlarged.map(|one| one.block.size).collect();
        leaking.sizes.extend(open.into_iter().filter(|size| !enlarged.contains(size)));
    }
    let mut leaks = !leaking.sizes.is_empty() || !leaking.addresses.is_empty();
    if !leaks {
        // Blocks whose sizes never repeat are visible only in the sum.
        let trend = everything.trend();
        is_open |= matches!(trend, Trend::Open { .. });
        leaking.is_everything = trend.leaks() && verdict::judge_series(&record.heap) == Verdict::Leaks;
        leaks = leaking.is_everything;
    }
    let growth = if leaks {
        let growth = growth_of(record, calls, survivors, &leaking);
        Growth {
            bytes: growth.bytes + in_containers.bytes,
            bytes_within: growth.bytes_within + in_containers.bytes_within,
            ..growth
        }
    } else {
        verdict::growth(&record.heap, record.requests)
    };
    let late = verdict::late_growth(&record.heap, record.requests);
    let verdict = match verdict::judge(&record.heap) {
        _ if leaks => Verdict::Leaks,
        _ if is_growing => Verdict::WarmingUp,
        Verdict::Steady => Verdict::Steady,
        // The sum is more than before, but it fluctuates.
        _ if late.bytes <= late.bytes_within => Verdict::Steady,
        _ => Verdict::WarmingUp,
    };
    // A list of large chunks gets one so rarely that a few rounds have only one.
    is_open |= has_late_chunks && !leaks;
    // Many containers that each grow rarely, for example a list for each key, are replaced often enough in more rounds.
    is_open |= verdict == Verdict::WarmingUp;
    let held = record.heap.clone();
    let finding = Finding { verdict, growth, held };
    HeapJudgement { finding, leaking, is_open, has_growing_container: is_growing, has_few }
}

/// The growth of the blocks whose sizes leak, over the second half of the rounds.
fn growth_of(record: &Record, calls: &[Call], survivors: &[Survivor], leaking: &Leaking) -> Growth {
    let rounds = record.rounds();
    let is_leaking = |size: u32| leaking.is_everything || leaking.sizes.contains(&size);
    let sum = |sizes: &BTreeMap<u32, u64>| {
        let counted = sizes.iter().filter(|(size, _)| is_leaking(**size) || leaking.counted.contains(*size));
        counted.fold(Held::default(), |sum, (&size, &count)| Held {
            bytes: sum.bytes + u64::from(size) * count,
            blocks: sum.blocks + count,
        })
    };
    let held: Vec<Held> = record.sizes.iter().map(sum).collect();
    let growth = verdict::late_growth(&held, record.requests);
    if growth.blocks * record.requests as f64 >= SPARSE || !leaking.counted.is_empty() {
        return growth;
    }
    // There is one block every few rounds, so the number of blocks in the second half of the rounds depends on chance.
    let late = |call: &usize| calls.get(*call).is_some_and(|call| call.round > rounds / 2);
    let made = survivors.iter().filter(|one| is_leaking(one.block.size));
    let mut made: Vec<(usize, u32)> = made.filter_map(|one| Some((one.born.filter(late)?, one.block.size))).collect();
    made.sort_unstable();
    let (Some(&(first, _)), Some(&(last, _))) = (made.first(), made.last()) else { return growth };
    if last == first {
        return growth;
    }
    let after = made.iter().filter(|(call, _)| *call > first);
    let (bytes, blocks) = after.fold((0.0, 0.0), |sum, &(_, size)| (sum.0 + f64::from(size), sum.1 + 1.0));
    let requests = (last - first) as f64;
    Growth { bytes: bytes / requests, bytes_within: growth.bytes_within, blocks: blocks / requests }
}

/// The finding for what is held after each round, by its sum.
pub fn held(held: &[Held], requests: usize) -> Finding {
    let bytes: Vec<u64> = held.iter().map(|held| held.bytes).collect();
    let growth = verdict::late_growth(held, requests);
    Finding { growth, held: held.to_vec(), ..series(&bytes, requests) }
}

/// The findings for what is not on the heap: bytes of tensors, the number of resources, memory beside the heap, and bytes of the
/// objects of the language. `heap` is the verdict for the heap.
pub fn others(record: &Record, heap: Verdict) -> [Finding; 4] {
    let Record { requests, host, beside_heap, objects, .. } = record;
    let resources = record.resource_counts();
    let mut found = [host, &resources, beside_heap, objects].map(|values| series(values, *requests));
    // What keeps buffers that are seen keeps the bytes in the account of all buffers, too.
    if heap != Verdict::Leaks && found[3].verdict != Verdict::Leaks && !record.buffers.is_empty() {
        let buffers = buffers(record);
        if buffers.verdict != Verdict::Steady {
            found[3] = buffers;
        }
    }
    found
}

/// The finding for the account of all buffers: lists and tables in it are enlarged rarely, and by much.
fn buffers(record: &Record) -> Finding {
    let finding = series(&record.buffers, record.requests);
    match octaves::growth(&record.buffers, record) {
        Some(growth) if finding.verdict != Verdict::Leaks => Finding { verdict: Verdict::Leaks, growth, ..finding },
        _ => finding,
    }
}

/// The finding for a series of bytes, or of a number of things: before the first round and after each round.
pub fn series(values: &[u64], requests: usize) -> Finding {
    let held: Vec<Held> = values.iter().map(|&bytes| Held { bytes, blocks: 0 }).collect();
    let verdict = verdict::judge_series(&held);
    let growth = match verdict {
        Verdict::Leaks => verdict::late_growth(&held, requests),
        _ => verdict::growth(&held, requests),
    };
    Finding { verdict, growth, held }
}

#[cfg(test)]
mod tests;
