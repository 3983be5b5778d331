//! Ends the reservations whose bytes arrive most slowly, while others wait.

use std::time::{Duration, Instant};

use super::SMALL;
use super::ledger::Ledger;

impl Ledger {
    /// Looks at how fast bytes arrive, if reservations wait and the last look was at least `step` ago. Ends the slowest
    /// reservations, as many as the waiting ones need.
    pub(super) fn look(&mut self, now: Instant, step: Duration) {
        let since = self.looked.map(|looked| now.duration_since(looked));
        if self.waiting.is_empty() || since.is_some_and(|since| since < step) {
            return;
        }
        // An older look says nothing about the rate now.
        if let Some(since) = since.filter(|since| *since < 3 * step) {
            self.end_slow(since);
        }
        self.looked = Some(now);
        for (age, claim) in &mut self.claims {
            if let Some(followed) = &mut claim.followed {
                followed.look(self.waiting.contains(age));
            }
        }
    }

    /// Returns true if reservations were ended whose bytes are not free yet.
    pub(super) fn frees_bytes(&self) -> bool {
        self.claims.values().any(|claim| claim.followed.as_ref().is_some_and(|followed| followed.is_ended()))
    }

    fn end_slow(&mut self, since: Duration) {
        // The free bytes when all that were ended are dropped.
        let (mut free, mut free_reserve) = (self.free, self.free_reserve);
        let mut slow = Vec::new();
        for (age, claim) in &self.claims {
            let held = claim.bytes + claim.reserve;
            match &claim.followed {
                Some(followed) if followed.is_ended() => {
                    free += claim.bytes;
                    free_reserve += claim.reserve;
                }
                Some(followed) if !self.waiting.contains(age) => {
                    let slowness = followed.slowness(held, since);
                    slow.extend(slowness.map(|slowness| (held <= SMALL, slowness, *age)));
                }
                _ => {}
            }
        }
        // A small body has little to give, so all larger ones that are slow come first.
        slow.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        for (_, _, age) in slow {
            if self.is_enough(free, free_reserve) {
                return;
            }
            let Some(claim) = self.claims.get_mut(&age) else { continue };
            free += claim.bytes;
            free_reserve += claim.reserve;
            if let Some(followed) = &mut claim.followed {
                followed.end();
            }
        }
    }

    /// Returns true if so many free bytes are enough for all reservations that wait. Only one of them, the elder, gets bytes
    /// of the reserve.
    fn is_enough(&self, free: u64, free_reserve: u64) -> bool {
        let is_ended = |age: &u64| {
            let claim = self.claims.get(age);
            claim.and_then(|claim| claim.followed.as_ref()).is_some_and(|followed| followed.is_ended())
        };
        let elder = self.elder.filter(|elder| !is_ended(elder)).or(self.waiting.first().copied());
        let wanted = |age: &u64| Some((*age, self.claims.get(age)?.wait.as_ref()?.more));
        let missing = self
            .waiting
            .iter()
            .filter_map(wanted)
            .map(|(age, more)| if Some(age) == elder { more.saturating_sub(free_reserve) } else { more });
        missing.sum::<u64>() <= free
    }
}
