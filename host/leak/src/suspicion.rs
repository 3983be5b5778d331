//! Growth that repeated rounds do not show, because the plugin keeps something only the first time it gets an input.
//!
//! A cache that is keyed by content grows with every new input. Rounds vary the contents of inputs, but not what a decoder
//! makes of them, and not tensors. Such a cache then grows in the first round only.

use std::collections::BTreeSet;

use super::run::Run;

/// Minimum number of inputs that kept something, and minimum share of the class.
const FEWEST: usize = 16;
const SHARE: f64 = 0.9;

/// The number of inputs of those with the indices `members` for which the first round left a block that is still in
/// use; 0 if not nearly all did.
pub(super) fn kept_in_first_round(run: &Run<'_>, members: &[usize]) -> usize {
    let members: BTreeSet<usize> = members.iter().copied().collect();
    let made = run.survivors.iter().filter_map(|survivor| run.calls.get(survivor.born?));
    let kept: BTreeSet<usize> =
        made.filter(|call| call.round == 1 && members.contains(&call.sample)).map(|call| call.sample).collect();
    if kept.len() >= FEWEST && kept.len() as f64 >= SHARE * members.len() as f64 { kept.len() } else { 0 }
}
