//! How much memory unused slots keep. The next instance rewrites it in place, touched or not; what a run has beyond that, the
//! kernel takes back after the run and gives again page by page, which takes several times as long.

use crate::cap::PAGE;

/// Bytes of each linear memory that a slot of the engine for all cores keeps resident. Small plugins fit completely, and a
/// 224 × 224 tensor made of a 640 × 480 photo but for 64 KiB. A plugin with a large snapshot pays 25 µs for it
/// (host/docs/performance.md).
pub const COMMON: usize = 5 << 18;

/// Most bytes of each linear memory that a slot of the engine of one core keeps resident. A baseline JPEG of 12 megapixels needs
/// 4 MB, a tensor of 640 × 640 pixels 5.
const MOST: usize = 6 << 20;

/// The slots of all engines of cores keep at most this part of the memory that the process may use, if each stage has one
/// memory and that is not less than [`COMMON`] for each.
const PART: u64 = 8;

/// The bytes of each linear memory that a slot of the engine of one core keeps, if all these engines use so many slots.
/// `memory` is what the process may use, in bytes.
pub(super) fn of_core(memory: Option<u64>, slots: u64) -> usize {
    let share = memory.unwrap_or(u64::MAX) / PART / slots.max(1);
    usize::try_from(share / PAGE * PAGE).unwrap_or(usize::MAX).clamp(COMMON, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_keep_an_eighth_of_the_memory_and_at_most_six_mib_each() {
        assert_eq!(of_core(None, 38), 6 << 20);
        assert_eq!(of_core(Some(16 << 30), 16 * 19), 6 << 20);
        assert_eq!(of_core(Some(512 << 20), 38), 26 << 16, "38 times 26 pages are 62 of 64 MiB");
        assert_eq!(of_core(Some(128 << 20), 38), COMMON, "as much as any slot");
        assert_eq!(of_core(Some(0), 0), COMMON);
    }
}
