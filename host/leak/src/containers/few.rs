//! Containers into which so little came that they may be caches.

use fixedbitset::FixedBitSet;

use super::container::Container;
use super::rate::{Certainty, ContainerGrowth};
use crate::rounds::ENOUGH_CALLS;

/// Marks containers that would leak as [`Certainty::Few`] if fewer than `enough` calls brought something into each, and fewer than
/// `ENOUGH_CALLS` into all of these together. Several containers of one cache change in the same calls, lists for several keys
/// in different ones.
pub fn mark_few(found: &mut [(&Container, ContainerGrowth)], enough: usize) {
    let is_few = |growth: &ContainerGrowth| growth.certainty == Certainty::Leaks && growth.entries < enough as f64;
    let few = found.iter().filter(|(_, growth)| is_few(growth));
    let (mut entries, mut changes, mut all) = (0.0, 0, FixedBitSet::new());
    for (container, growth) in few {
        entries += growth.entries;
        changes += container.changes.calls().count_ones(..);
        all.union_with(container.changes.calls());
    }
    let together = if changes == 0 { entries } else { entries * all.count_ones(..) as f64 / changes as f64 };
    if together < ENOUGH_CALLS as f64 {
        found.iter_mut().filter(|(_, growth)| is_few(growth)).for_each(|(_, growth)| growth.certainty = Certainty::Few);
    }
}
