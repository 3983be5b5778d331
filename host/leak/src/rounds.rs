//! How many rounds a run has, and how rare a leak may be that so many calls show.

use std::time::Duration;

use super::record::Rates;

/// Calls after which growth is judged, and which a run has even if nothing grows (not in Python): a leak may be rare, or
/// begin late. A cache with fewer entries is full by then.
pub(super) const ENOUGH_CALLS: usize = 1_024;
/// Rounds after which growth is judged: four in the second half, two in the quarter before.
pub(super) const ENOUGH_ROUNDS: usize = 8;
/// Calls up to which rounds are added if the verdict is open.
pub(super) const MOST_CALLS: usize = 4_096;
/// Calls up to which rounds are added if so few entries came into a container that it may be a cache, and the time for that.
const MOST_CALLS_FOR_FEW: usize = 4 * MOST_CALLS;
const TIME_FOR_FEW: Duration = Duration::from_secs(30);
/// Entries of a container with which it counts as larger than a usual cache when no more rounds can be added.
pub(super) const ENOUGH_ENTRIES: usize = 256;
/// Bytes of linear memory up to which rounds are added.
pub(super) const ENOUGH_MEMORY: u64 = 512 << 20;
/// Time up to which rounds are added if nothing grows.
pub(super) const STEADY_TIME: Duration = Duration::from_secs(60);
/// Time by which the guest's clocks are advanced after each round.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(24 * 60 * 60);
/// After so many rounds they are advanced by less: seconds in 32 bits end in 2038.
const DATED_ROUNDS: usize = 1_024;
const LATER_BETWEEN_ROUNDS: Duration = Duration::from_secs(60 * 60);
/// Calls for each occurrence of a leak that is found in 9 of 10 runs, if it occurs at random (`judge/tests.rs`).
pub(super) const CALLS_FOR_EACH: usize = 32;

/// How many rounds a run has.
#[derive(Debug, Clone, Copy)]
pub struct Rounds {
    /// The least number of rounds.
    pub least: usize,
    /// True if rounds are added until there are `ENOUGH_CALLS` calls, although nothing grows.
    pub until_enough: bool,
    /// What leaks with other inputs already. No rounds are added if no more than that grows.
    pub known: Option<Rates>,
}

/// The time by which the guest's clocks are advanced after a round.
pub(super) fn time_after(round: usize) -> Duration {
    if round <= DATED_ROUNDS { BETWEEN_ROUNDS } else { LATER_BETWEEN_ROUNDS }
}

/// Returns true if the rounds may not be doubled after so many calls. `has_few`: few entries came into a container, in a run of
/// this time.
pub(super) fn are_all(calls: usize, has_few: bool, time: Duration) -> bool {
    2 * calls > if has_few && time < TIME_FOR_FEW { MOST_CALLS_FOR_FEW } else { MOST_CALLS }
}

/// The largest N for which this number of calls shows a leak that occurs in one of N calls; 0 if there is none.
pub fn rarest_leak(calls: usize) -> usize {
    calls / CALLS_FOR_EACH
}
