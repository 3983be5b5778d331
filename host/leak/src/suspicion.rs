//! Growth that repeated rounds do not show, because the plugin keeps something only the first time it gets an input.
//!
//! A cache that is keyed by content grows with every new input. Rounds vary the contents of inputs, but not what a decoder
//! makes of them, and not tensors. Such a cache then grows in the first round only. What grows in the second round as in the
//! first is not of this kind, because the rounds show it.
//!
//! What replaces its entries may get the block of an entry that it has just freed. Such a block has other contents at the end.

use std::collections::BTreeSet;

use super::heap_watch::beginning;
use super::record::Survivor;
use super::run::Run;

/// Minimum number of inputs that kept something, and minimum share of the class. What is made once, for example a table for
/// each format, is kept by fewer inputs.
pub(super) const FEWEST: usize = 4;
const SHARE: f64 = 0.9;
/// Maximum share of these inputs that keep something in the second round, too.
const AGAIN: f64 = 0.5;

/// Bytes that are compared, and the minimum share of them that are the same if it is the same entry: counters and links change.
const WORD: usize = 4;
const SAME: f64 = 0.8;

/// The number of inputs of those with the indices `members` for which the first round left a block that is still in
/// use; 0 if not nearly all did, or if the second round did the same.
pub(super) fn kept_in_first_round(run: &Run<'_>, members: &[usize]) -> usize {
    let members: BTreeSet<usize> = members.iter().copied().collect();
    let kept = |round: usize| {
        let kept = run.survivors.iter().filter(|survivor| round > 1 || !is_replaced(run, survivor));
        let made = kept.filter_map(|survivor| run.calls.get(survivor.born?));
        let of_round = made.filter(|call| call.round == round && members.contains(&call.sample));
        of_round.map(|call| call.sample).collect::<BTreeSet<usize>>().len()
    };
    let (first, second) = (kept(1), kept(2));
    let is_nearly_all = first >= FEWEST && first as f64 >= SHARE * members.len() as f64;
    if is_nearly_all && second as f64 <= AGAIN * first as f64 { first } else { 0 }
}

/// Returns true if most of what a block had after the first round is something else at the end.
fn is_replaced(run: &Run<'_>, survivor: &Survivor) -> bool {
    let blocks = &run.after_first_round;
    let Ok(index) = blocks.binary_search_by_key(&survivor.block.address, |(block, _)| block.address) else {
        return false;
    };
    let now = beginning(survivor.block, run.subject.memory());
    let pairs = || blocks[index].1.chunks(WORD).zip(now.chunks(WORD));
    let (all, same) = (pairs().count(), pairs().filter(|(before, now)| before == now).count());
    (same as f64) < SAME * all as f64
}
