//! Leaks in a sum to which something adds that is enlarged rarely and by much: a table or a list that doubles whenever it is full.
//!
//! Of such a sum, steps are all that is seen, and they need not double one by one: the engine of JavaScript rounds buffers of more
//! than 1 MiB up to whole MiB. But the growth from half of the rounds to all of them is twice that from a quarter to half, if as
//! much comes in each round, wherever the steps are. So the growths of all octaves are compared. A table that is bounded adds
//! nothing to the last one, and a table of what was seen adds the same to each.

use super::record::Record;
use super::rounds::{ENOUGH_CALLS, ENOUGH_ENTRIES};
use super::verdict::{Growth, LEAK_RATIO};

/// Least octaves that are compared. A run that was cut short needs one more, because it has fewer calls.
const OCTAVES: usize = 3;
/// Mean ratio of the growth of an octave to that of the octave before, for what adds as much in each round.
const RATIO: std::ops::RangeInclusive<f64> = 1.5..=3.0;
/// The most by which the last step can be smaller than it is without rounding up to MiB, and the step before it larger.
const ROUNDED: f64 = (512 << 10) as f64;
/// Least share of the growth of an octave that is one step, so that it can have been rounded.
const ONE_STEP: f64 = 0.9;
/// Ratio of the rates between the last three steps of a table.
const EVEN: std::ops::RangeInclusive<f64> = 0.83..=1.6;
/// A table whose next step has not come after this many times the calls between the last two is full.
const OVERDUE: f64 = 2.25;
/// Steps of no more bytes are not those of a table.
const SMALLEST_STEP: u64 = 512;
/// Bytes that must be full before the last step, without those before the step before it, which are half. A number in a list has
/// eight bytes, an entry of a table 18 or more, so with less there are at most 512 and 230 entries.
const LEAST: f64 = 7.0 * ENOUGH_ENTRIES as f64;
/// Most octaves before the last one from which the rate is counted. Before that, the smallest sizes of a table are rounded.
const RATE_OCTAVES: usize = 3;

/// The growth from one round to a later one.
#[derive(Debug, Clone, Copy)]
struct Octave {
    bytes: f64,
    /// The largest step.
    step: f64,
    /// The round with this step: a table was full before it.
    round: usize,
    /// The sum before that round.
    full: f64,
}

/// The growth per request of a sum of bytes, `values`, before the first round and after each round of `record`. `None` if it does
/// not grow as a leak does, or if there were too few calls.
pub(super) fn growth(values: &[u64], record: &Record) -> Option<Growth> {
    by_octaves(values, record).or_else(|| by_steps(values, record))
}

fn by_octaves(values: &[u64], record: &Record) -> Option<Growth> {
    let rounds = values.len().checked_sub(1)?;
    let octaves = octaves(values);
    let [mut last, mut before, ..] = octaves[..] else { return None };
    let is_enough = octaves.len() >= OCTAVES && rounds / 2 * record.requests >= ENOUGH_CALLS
        || record.is_cut_short && octaves.len() > OCTAVES;
    // A table of 2 MiB becomes one of 3 MiB, because it needs a little more than 2.
    let are_steps = [last, before].iter().all(|octave| octave.step >= ONE_STEP * octave.bytes);
    if last.bytes < LEAK_RATIO * before.bytes && last.bytes >= ROUNDED && are_steps {
        (last.bytes, before.bytes) = (last.bytes + ROUNDED, before.bytes - ROUNDED);
    }
    // A queue that is emptied now and then.
    let falls_most = 2.0 * fall(&values[1..]) > last.bytes;
    let is_little = last.full - before.full <= LEAST;
    if !is_enough || last.bytes < LEAK_RATIO * before.bytes || falls_most || is_little {
        return None;
    }
    // One of the earlier octaves may have more because of a size that was rounded up, the first ones because of what is made
    // once, or less because of what was freed.
    let mean = |at: usize| (last.bytes / octaves[at].bytes).powf(1.0 / at as f64);
    let first = (OCTAVES - 1..octaves.len()).rev().find(|&at| RATIO.contains(&mean(at)))?;
    let from = &octaves[first.min(RATE_OCTAVES)];
    let rate = |from: &Octave, to: &Octave| {
        (to.full - from.full) / ((to.round.saturating_sub(from.round)).max(1) * record.requests.max(1)) as f64
    };
    let (early, late, bytes) = (rate(from, &before), rate(&before, &last), rate(from, &last));
    (bytes > 0.0).then(|| Growth { bytes, bytes_within: (late - early).abs() / 2.0, blocks: 0.0 })
}

/// The same by the last three steps, each of them the largest so far: a table that was filled before the first call has empty
/// octaves, and its sizes grow at the same rate between these steps.
fn by_steps(values: &[u64], record: &Record) -> Option<Growth> {
    let (mut steps, mut most) = (Vec::new(), SMALLEST_STEP);
    for (round, pair) in values.windows(2).enumerate().skip(1) {
        let step = pair[1].saturating_sub(pair[0]);
        if step > most {
            most = step;
            steps.push((round * record.requests, pair[0] as f64, step as f64));
        }
    }
    let [.., first, second, third] = steps[..] else { return None };
    let rate = |from: (usize, f64, f64), to: (usize, f64, f64)| (to.1 - from.1) / (to.0 - from.0).max(1) as f64;
    let (early, late) = (rate(first, second), rate(second, third));
    let is_even = early > 0.0 && EVEN.contains(&(late / early));
    // The next step comes after twice as many calls as there were between the last two.
    let waited = (values.len() - 1) * record.requests - third.0;
    let is_overdue = waited as f64 > OVERDUE * (third.0 - second.0) as f64;
    let is_little = third.1 - second.1 <= LEAST;
    if is_little || third.0 <= ENOUGH_CALLS || 2.0 * fall(&values[1..]) > first.2 || !is_even || is_overdue {
        return None;
    }
    Some(Growth { bytes: rate(first, third), bytes_within: (late - early).abs() / 2.0, blocks: 0.0 })
}

/// The octaves that end with the last round, the latest one first, up to the first one in which nothing grew. The first round does
/// not count: what is made once is made there.
fn octaves(values: &[u64]) -> Vec<Octave> {
    let (mut found, mut end) = (Vec::new(), values.len().saturating_sub(1));
    while end / 2 >= 1 {
        let octave = &values[end / 2..=end];
        let bytes = values[end] as f64 - values[end / 2] as f64;
        if bytes <= 0.0 {
            break;
        }
        let steps = octave.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).enumerate();
        let (at, step) = steps.max_by_key(|(at, step)| (*step, std::cmp::Reverse(*at))).unwrap_or_default();
        found.push(Octave { bytes, step: step as f64, round: end / 2 + at, full: octave[at] as f64 });
        end /= 2;
    }
    found
}

/// The most that the values fall below what they were before.
fn fall(values: &[u64]) -> f64 {
    let (mut most, mut fall) = (0, 0);
    for &value in values {
        most = most.max(value);
        fall = fall.max(most - value);
    }
    fall as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUESTS: usize = 24;

    /// Bytes per request of a sum of so many bytes after each number of calls.
    fn rate(rounds: u64, bytes: impl Fn(u64) -> u64) -> Option<f64> {
        let values: Vec<u64> = (0..=rounds).map(|round| 400_000 + bytes(round * REQUESTS as u64)).collect();
        growth(&values, &Record { requests: REQUESTS, ..Record::default() }).map(|growth| growth.bytes)
    }

    /// The buffer of a table with so many entries of 18 bytes, as the engine of JavaScript allocates it.
    fn table(entries: u64) -> u64 {
        let bytes = (entries.max(1) * 18).next_power_of_two() * 3 / 2;
        if bytes > 1 << 20 { bytes.next_multiple_of(1 << 20) } else { bytes }
    }

    #[test]
    fn a_table_whose_size_is_rounded_up_is_a_leak_with_its_rate() {
        for per_call in 1..=300 {
            let found = rate(128, |calls| table(calls * per_call)).expect("a leak");
            let full = 18.0 * 1.5 * per_call as f64;
            assert!((0.45..1.6).contains(&(found / full)), "{per_call}: {found} of {full}");
            // Noise of one buffer that is there in every second round.
            let noise = |calls: u64| table(calls * per_call) + calls / 24 % 2 * 384;
            assert!(rate(128, noise).is_some(), "{per_call}");
            // What the engine makes and frees in its first rounds.
            let warm = |calls: u64| table(calls * per_call) + if calls > 24 { 16_384 } else { 0 };
            assert!(rate(128, warm).is_some(), "{per_call}");
            let freed = |calls: u64| table(calls * per_call) + if calls < 8 * 24 { 8_192 } else { 0 };
            assert!(rate(128, freed).is_some(), "{per_call}");
        }
    }

    #[test]
    fn a_table_that_was_filled_before_is_a_leak() {
        for before in [50, 100, 200, 300, 400, 600] {
            for per_call in [1, 2, 3, 5, 10] {
                let found = rate(128, |calls| table(before + calls * per_call)).expect("a leak");
                let full = 18.0 * 1.5 * per_call as f64;
                assert!((0.45..1.6).contains(&(found / full)), "{before} {per_call}: {found} of {full}");
            }
            for bounded in [100, 500, 1_000] {
                assert_eq!(rate(128, |calls| table(before + calls.min(bounded))), None, "{bounded}");
            }
        }
        for per_call in 1..=60 {
            for full in [1_100, 1_200, 1_400, 5_000 / per_call.max(4)] {
                assert_eq!(rate(128, |calls| table(per_call * calls.min(full))), None, "{per_call} until {full}");
            }
        }
    }

    /// With many files there are few rounds.
    #[test]
    fn a_table_is_a_leak_with_any_number_of_files() {
        for requests in [16, 24, 40, 100, 300, 1_000, 4_000] {
            let mut rounds = 8;
            while 2 * rounds * requests <= 4_096 {
                rounds *= 2;
            }
            for per_call in (1..=60).chain([100, 300, 1_000]) {
                let values: Vec<u64> =
                    (0..=rounds).map(|round| 400_000 + table((round * requests * per_call) as u64)).collect();
                let record = Record { requests, ..Record::default() };
                assert!(growth(&values, &record).is_some(), "{requests} {per_call}: {values:?}");
                let cut = Record { is_cut_short: true, ..record };
                assert!(growth(&values, &cut).is_some(), "{requests} {per_call}");
            }
        }
    }

    #[test]
    fn what_ends_or_slows_down_is_no_leak() {
        for bounded in [10, 100, 500, 1_000] {
            for per_call in [1, 100] {
                assert_eq!(rate(128, |calls| table(calls.min(bounded) * per_call)), None, "{bounded}");
            }
            assert_eq!(rate(128, |calls| table(calls % bounded)), None, "emptied after {bounded}");
        }
        assert_eq!(rate(128, |calls| (calls as f64).ln_1p() as u64 * 10_000), None, "what was seen");
        assert_eq!(rate(128, |calls| (calls as f64).sqrt() as u64 * 10_000), None, "what was seen");
        assert_eq!(rate(128, |calls| if calls > 2_000 { 90_000 } else { calls / 1_000 }), None, "once, late");
        for (round, once) in [(1, 0), (1, 16_384), (2, 60), (3, 16_384), (4, 100), (10, 16_384), (20, 16_384)] {
            let warm = |calls: u64| table(calls / 20) + if calls > 24 * round { once } else { 0 };
            assert_eq!(rate(128, warm), None, "a cache that is filled by one of many requests, {once} in {round}");
        }
        assert_eq!(rate(128, |_| 7), None);
        assert_eq!(rate(32, table), None, "a cache of some hundred entries");
        assert_eq!(growth(&[], &Record::default()), None);
        assert_eq!(growth(&[5; 2], &Record::default()), None);
    }

    /// Any numbers, as those of an account that is not understood, are no leak.
    #[test]
    fn noise_is_no_leak() {
        let mut state = 7_u64;
        for _ in 0..2_000 {
            let values: Vec<u64> = (0..=128)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    400_000 + (state >> 49) / 4_096 * 4_096
                })
                .collect();
            assert_eq!(growth(&values, &Record { requests: REQUESTS, ..Record::default() }), None, "{values:?}");
        }
    }
}
