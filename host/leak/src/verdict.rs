//! Does it leak? Judges a series of live bytes, one number after each round over the corpus.
//!
//! The rounds are compared by octaves: the growth in the second half of all rounds is divided by the growth in the
//! quarter before it. A leak adds the same amount in each round, so the second half adds twice as much. This is also
//! true for a block that doubles its size whenever it is full. A cache that fills logarithmically adds the same amount
//! in each octave. A full cache adds nothing. Memory that is allocated only once is allocated in the first round.
//! Therefore the ratio is 2 for a leak and at most 1 for growth that ends, whatever the sizes are.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Minimum number of rounds for a comparison.
pub const MIN_ROUNDS: usize = 4;
/// The middle between the ratio of a leak (2) and that of logarithmic growth (1).
const LEAK_RATIO: f64 = 1.5;
/// Maximum bytes that a block can have in addition to the requested bytes, because the allocator does not split off a
/// remainder that is smaller than its smallest chunk.
const SLACK_PER_BLOCK: f64 = 16.0;

/// Memory that is held at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Held {
    /// Bytes.
    pub bytes: u64,
    /// Blocks; 0 if only bytes are known.
    pub blocks: u64,
}

/// The result of judging a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Memory grows at a constant rate and does not stop growing.
    Leaks,
    /// Memory grows more and more slowly: a cache is filling, or there are too few rounds.
    WarmingUp,
    /// Memory does not grow.
    Steady,
}

impl Verdict {
    /// The name of this verdict in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Leaks => "leaks",
            Self::WarmingUp => "warming up",
            Self::Steady => "steady",
        }
    }
}

/// Growth per request, in bytes and blocks, over the rounds after the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Growth {
    /// Mean bytes per request.
    pub bytes: f64,
    /// Half the width of the 95 % confidence interval of `bytes` (Student's t over rounds).
    pub bytes_within: f64,
    /// Mean blocks per request.
    pub blocks: f64,
}

/// Judges a series. `held[0]` is the memory before the first round, `held[r]` the memory after round `r`.
///
/// # Panics
/// If there are fewer than [`MIN_ROUNDS`] rounds.
pub fn judge(held: &[Held]) -> Verdict {
    let rounds = held.len() - 1;
    assert!(rounds >= MIN_ROUNDS, "{rounds} rounds, at least {MIN_ROUNDS} are needed");
    let between = |from: usize, to: usize| held[to].bytes as f64 - held[from].bytes as f64;
    let late = between(rounds / 2, rounds);
    let early = between(rounds / 4, rounds / 2);
    let slack = SLACK_PER_BLOCK * held[rounds].blocks as f64;
    let more_blocks = held[rounds].blocks > held[rounds / 2].blocks;
    if late <= 0.0 || (!more_blocks && late <= slack) {
        return Verdict::Steady;
    }
    if early > 0.0 {
        return if late >= LEAK_RATIO * early { Verdict::Leaks } else { Verdict::WarmingUp };
    }
    // No growth before, but growth now: a leak only if memory grew in at least half of the late rounds, and more than
    // once.
    let grew = (rounds / 2..rounds).filter(|&round| held[round + 1].bytes > held[round].bytes).count();
    if grew > 1 && 2 * grew >= rounds - rounds / 2 { Verdict::Leaks } else { Verdict::WarmingUp }
}

/// Growth per request; `requests` is the number of requests in each round.
pub fn growth(held: &[Held], requests: usize) -> Growth {
    let steps: Vec<f64> = held[1..]
        .windows(2)
        .map(|pair| (pair[1].bytes as f64 - pair[0].bytes as f64) / requests.max(1) as f64)
        .collect();
    let Some(last) = held.last().filter(|_| !steps.is_empty()) else { return Growth::default() };
    let count = steps.len() as f64;
    let mean = steps.iter().sum::<f64>() / count;
    let blocks = (last.blocks as f64 - held[1].blocks as f64) / (count * requests.max(1) as f64);
    let mut bytes_within = 0.0;
    if steps.len() > 1 {
        let variance = steps.iter().map(|step| (step - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let t = StudentsT::new(0.0, 1.0, count - 1.0).map_or(0.0, |t| t.inverse_cdf(0.975));
        bytes_within = t * (variance / count).sqrt();
    }
    Growth { bytes: mean, bytes_within, blocks }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(bytes: impl Fn(u32) -> u64) -> Vec<Held> {
        (0..=8).map(|round| Held { bytes: bytes(round), blocks: bytes(round) / 100 }).collect()
    }

    #[test]
    fn octaves_distinguish_a_leak_from_growth_that_ends() {
        assert_eq!(judge(&series(|round| 5_000 + u64::from(round) * 1_000)), Verdict::Leaks);
        assert_eq!(judge(&series(|round| u64::from(round * 1_000).next_power_of_two())), Verdict::Leaks, "doubling");
        assert_eq!(judge(&series(|round| if round == 0 { 0 } else { 9_000 })), Verdict::Steady, "allocated once");
        let logarithmic = |round: u32| (f64::from(round + 1).ln() * 10_000.0) as u64;
        assert_eq!(judge(&series(logarithmic)), Verdict::WarmingUp);
        assert_eq!(judge(&series(|round| if round > 5 { 9_000 } else { 1_000 })), Verdict::WarmingUp, "once, late");
        assert_eq!(judge(&series(|round| u64::from(round.saturating_sub(4)) * 500)), Verdict::Leaks, "begins late");
        let slack = series(|_| 20_000).into_iter().enumerate();
        let slack: Vec<_> =
            slack.map(|(at, held)| Held { bytes: held.bytes + at as u64, blocks: held.blocks }).collect();
        assert_eq!(judge(&slack), Verdict::Steady, "one more byte per round is slack of the allocator");
    }

    #[test]
    fn growth_is_per_request_and_leaves_out_the_first_round() {
        let growth = growth(&series(|round| if round == 0 { 0 } else { 50_000 + u64::from(round) * 1_000 }), 10);
        assert_eq!((growth.bytes, growth.bytes_within, growth.blocks), (100.0, 0.0, 1.0));
    }
}
