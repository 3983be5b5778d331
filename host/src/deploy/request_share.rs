//! Selects the requests that a canary's new version gets.
//!
//! The selection is random, with a secret of the process: a caller that could foresee it could let exactly the requests of
//! the new version fail, or only those of the old one. The share is nearly kept at every moment: requests are divided into
//! blocks of a secret length, and each block has its share of the new version's requests, in a random order.

use std::hash::{BuildHasher, RandomState};
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

/// The requests of a block. Its length is random, so that the last requests of a block cannot be foreseen.
const BLOCK: RangeInclusive<u64> = 50..=150;

/// The selection of a canary's requests.
pub(super) struct RequestShare {
    share: f64,
    /// The secret. Rust's default hasher, SipHash, is a keyed pseudo-random function.
    secret: RandomState,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The number of values that were drawn from the secret.
    drawn: u64,
    /// Requests that are left in the block.
    left: u64,
    /// Requests of the new version that are left in the block.
    new: u64,
    /// The fraction of a request that the new version still has to get, because a block has a whole number of requests.
    owed: f64,
}

impl RequestShare {
    /// Selects a part of the requests, from 0 to 1.
    pub(super) fn new(share: f64) -> Self {
        Self { share, secret: RandomState::new(), state: Mutex::default() }
    }

    /// Returns true if the next request gets the new version.
    pub(super) fn takes_next(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        if state.left == 0 {
            state.left = BLOCK.start() + self.draw(state, BLOCK.end() - BLOCK.start() + 1);
            let wanted = state.owed + self.share * state.left as f64;
            state.new = wanted.floor() as u64;
            state.owed = wanted - wanted.floor();
        }
        // Each order of the block's requests is equally likely.
        let left = state.left;
        let takes = self.draw(state, left) < state.new;
        state.left -= 1;
        state.new -= u64::from(takes);
        takes
    }

    /// A random number below `end`.
    fn draw(&self, state: &mut State, end: u64) -> u64 {
        state.drawn += 1;
        self.secret.hash_one(state.drawn) % end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_nearly_kept_at_every_moment() {
        for share in [0.01, 0.05, 0.25, 0.5] {
            let selection = RequestShare::new(share);
            let mut taken = 0;
            for request in 1..=20_000_u64 {
                taken += u64::from(selection.takes_next());
                let expected = share * request as f64;
                // All of the new version's requests may be at one end of a block.
                let tolerance = share * *BLOCK.end() as f64 + 2.0;
                assert!((taken as f64 - expected).abs() <= tolerance, "{taken} of {request} with a share of {share}");
            }
            assert!(taken > 0);
        }
    }

    /// The distances between the new version's requests are those of a random selection, and differ between canaries.
    #[test]
    fn the_selection_cannot_be_foreseen() {
        let selected = || -> Vec<bool> {
            let selection = RequestShare::new(0.25);
            (0..10_000).map(|_| selection.takes_next()).collect()
        };
        let (one, other) = (selected(), selected());
        assert_ne!(one, other);
        // After a request of the new version, and after one of the old version, the next one is new equally often.
        for was_new in [true, false] {
            let next: Vec<_> = one.windows(2).filter(|pair| pair[0] == was_new).map(|pair| pair[1]).collect();
            let share = next.iter().filter(|is_new| **is_new).count() as f64 / next.len() as f64;
            assert!((0.2..0.3).contains(&share), "{share} after {was_new}");
        }
        let both = one.iter().zip(&other).filter(|(one, other)| **one && **other).count();
        assert!((425..825).contains(&both), "two canaries have the same requests: {both}");
    }
}
