//! Whether the new version of a canary really does something more often than the old one, or by chance.
//!
//! The figures are looked at after every request, so a fixed threshold would be crossed by chance sooner or later. The
//! evidence here is a test martingale (Ville's inequality; Ramdas et al., "Game-theoretic statistics and safe anytime-valid
//! inference", 2023): if both versions do it equally often, it reaches [`ENOUGH`] with a probability of at most 1 / `ENOUGH`
//! during the whole canary, no matter how often it is looked at.

/// The evidence that a decision needs: at most 1 of 100 versions that are as good as the old one is rolled back by chance.
pub(super) const ENOUGH: f64 = 100.0;

/// The alternatives that are mixed, each with the same weight.
const ALTERNATIVES: u32 = 16;

/// The evidence that an event is more frequent with the new version. `new` and `old` are the events of each version, `share`
/// is the part of the requests that the new version had, from 0 to 1. 1 is no evidence for or against it.
pub(super) fn evidence(new: u64, old: u64, share: f64) -> f64 {
    // Without a difference, an event belongs to the new version with this probability.
    if share <= 0.0 || share >= 1.0 {
        return 1.0;
    }
    let likelihood = |probability: f64| {
        new as f64 * (probability / share).ln() + old as f64 * ((1.0 - probability) / (1.0 - share)).ln()
    };
    let alternative = |index: u32| share + (1.0 - share) * (f64::from(index) + 0.5) / f64::from(ALTERNATIVES);
    (0..ALTERNATIVES).map(|index| likelihood(alternative(index)).exp()).sum::<f64>() / f64::from(ALTERNATIVES)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest number of events, all of the new version, that is enough.
    fn events_needed(share: f64) -> u64 {
        (1..100).find(|&new| evidence(new, 0, share) >= ENOUGH).expect("a number")
    }

    #[test]
    fn few_events_are_enough_if_only_the_new_version_has_them() {
        assert_eq!([0.05, 0.25, 0.5].map(events_needed), [2, 5, 9]);
    }

    #[test]
    fn equal_versions_have_enough_evidence_in_at_most_one_of_a_hundred_canaries() {
        // A linear congruential generator (Knuth, MMIX): the test is the same in every run.
        let mut state = 1_u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        for share in [0.05, 0.25, 0.5] {
            let mut false_alarms = 0;
            for _ in 0..1_000 {
                let (mut new, mut old) = (0, 0);
                for _ in 0..200 {
                    *(if random() < share { &mut new } else { &mut old }) += 1;
                    if evidence(new, old, share) >= ENOUGH {
                        false_alarms += 1;
                        break;
                    }
                }
            }
            assert!(false_alarms <= 10, "{false_alarms} of 1,000 with a share of {share}");
        }
    }

    #[test]
    fn events_of_only_one_side_are_no_evidence_without_a_comparison() {
        assert_eq!([evidence(5, 0, 1.0), evidence(0, 0, 0.5)], [1.0, 1.0]);
        assert!(evidence(0, 20, 0.5) < 0.1);
        // Many events do not overflow.
        assert!(evidence(0, u64::MAX, 0.5) >= 0.0 && evidence(u64::MAX, 0, 0.5) > ENOUGH);
    }
}
