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

/// Bytes of a word. An entry is another one if more than one of so many words changed: counters and links of an entry do. In a
/// small block these are up to two words: a counter and a time.
const WORD: usize = 4;
const CHANGED: usize = 5;
const FEW_CHANGED: usize = 2;

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

/// Returns true if what a block had after the first round is something else at the end.
fn is_replaced(run: &Run<'_>, survivor: &Survivor) -> bool {
    let blocks = &run.after_first_round;
    let Ok(index) = blocks.binary_search_by_key(&survivor.block.address, |(block, _)| block.address) else {
        return false;
    };
    let now = beginning(survivor.block, run.subject.memory());
    is_other(&blocks[index].1, now)
}

/// Returns true if more of a block is something else than an entry changes of itself.
fn is_other(before: &[u8], now: &[u8]) -> bool {
    let (before, now) = (before.chunks(WORD), now.chunks(WORD));
    let words = before.len();
    let changed = before.zip(now).filter(|(before, now)| before != now).count();
    changed > FEW_CHANGED.min(words / 2).max(words / CHANGED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_with_a_counter_is_the_same_and_one_with_other_contents_is_not() {
        // Of so many words as many change.
        let is_other = |words: usize, changed: usize| {
            let before = vec![1_u8; words * WORD];
            let mut now = before.clone();
            now[..changed * WORD].fill(2);
            is_other(&before, &now)
        };
        for words in [4, 5, 7, 10, 16] {
            assert!(!is_other(words, 2), "{words}: a counter and a time");
            assert!(is_other(words, words), "{words}: all");
        }
        assert!(!is_other(16, 3) && is_other(16, 4));
        assert!(!is_other(3, 1) && is_other(3, 2));
        assert!(is_other(1, 1) && !is_other(0, 0));
    }
}
