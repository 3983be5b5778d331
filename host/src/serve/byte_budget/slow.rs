//! Ends the reservations whose bytes arrive most slowly, while others wait.

use std::time::{Duration, Instant};

use super::ledger::{Ledger, SMALL};

impl Ledger {
    /// Looks at how fast bytes arrive, if reservations wait and the last look was at least `step` ago. Ends the slowest
    /// reservations, as many as the waiting ones need.
    pub(super) fn look(&mut self, now: Instant, step: Duration) {
        let since = self.looked.map(|looked| now.duration_since(looked));
        if self.waiting.is_empty() || since.is_some_and(|since| since < step) {
            return;
        }
        // An older look says nothing about the rate now.
        self.frees_bytes = since.is_some_and(|since| since < 3 * step && self.end_slow(since));
        self.looked = Some(now);
        for (age, claim) in &mut self.claims {
            if let Some(followed) = &mut claim.followed {
                followed.look(self.waiting.contains(age));
            }
        }
    }

    /// Ends the slowest reservations. Returns true if some were ended, now or before, whose bytes are not free yet.
    fn end_slow(&mut self, since: Duration) -> bool {
        // The free bytes when all that were ended are dropped.
        let (mut free, mut free_reserve, mut frees_bytes) = (self.free, self.free_reserve, false);
        let (mut slow, mut elder) = (Vec::new(), self.elder);
        for (age, claim) in &self.claims {
            let held = claim.bytes + claim.reserve;
            match &claim.followed {
                Some(followed) if followed.is_ended() => {
                    free += claim.bytes;
                    free_reserve += claim.reserve;
                    frees_bytes = true;
                    elder = elder.filter(|elder| elder != age);
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
        let more =
            |age: u64| self.claims.get(&age)?.wait.as_ref().filter(|wait| wait.ended.is_none()).map(|it| it.more);
        let wanted: u64 = self.waiting.iter().filter_map(|age| more(*age)).sum();
        let oldest = self.waiting.first().copied();
        let of_elder = |elder: Option<u64>| elder.or(oldest).and_then(more).unwrap_or(0);
        let (as_it_is, without_elder) = (of_elder(elder), of_elder(None));
        let mut first = as_it_is;
        for (_, _, age) in slow {
            // Only the elder gets bytes of the reserve.
            if wanted - first + first.saturating_sub(free_reserve) <= free {
                break;
            }
            let Some(claim) = self.claims.get_mut(&age) else { continue };
            free += claim.bytes;
            free_reserve += claim.reserve;
            frees_bytes = true;
            if elder == Some(age) {
                first = without_elder;
            }
            if let Some(followed) = &mut claim.followed {
                followed.end();
            }
        }
        frees_bytes
    }
}
