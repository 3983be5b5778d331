//! Soft non-maximum suppression.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::neighbours::Neighbours;
use crate::select::{Found, Kept, overlap};

/// Soft-NMS with a Gaussian penalty (Bodla et al., "Soft-NMS", ICCV 2017), for each class. Computed in f64, because f32
/// would round a penalty close to 1 to 1, and scores that differ would become equal.
pub(crate) fn soft<T>(candidates: Vec<Found<T>>, sigma: f32, kept: &mut Kept<T>) {
    let (sigma, threshold) = (f64::from(sigma), f64::from(kept.rule.score_threshold));
    // Not a number after the candidate was kept or dropped.
    let mut scores: Vec<f64> = candidates.iter().map(|found| f64::from(found.score)).collect();
    let mut neighbours = Neighbours::new(0.0);
    let mut queue = BinaryHeap::with_capacity(candidates.len());
    for (at, found) in candidates.iter().enumerate() {
        neighbours.add(found.class, at, found.r#box);
        queue.push(Queued { score: scores[at], class: found.class, at });
    }
    let mut candidates: Vec<_> = candidates.into_iter().map(Some).collect();
    while !kept.is_full()
        && let Some(Queued { at, score: queued, class }) = queue.pop()
    {
        let score = scores[at];
        if score < queued {
            // It has been reduced since, so others may be better.
            queue.push(Queued { score, class, at });
            continue;
        }
        if score.is_nan() || !kept.has_room(class) {
            continue;
        }
        let Some(found) = candidates[at].take() else { continue };
        scores[at] = f64::NAN;
        neighbours.any(class, &found.r#box, |other, corners| {
            let overlap = if scores[other].is_nan() { 0.0 } else { overlap(&found.r#box, corners) };
            // For boxes that are apart the exponential is 1.
            if overlap > 0.0 {
                scores[other] *= (-overlap * overlap / sigma).exp();
                if scores[other] <= threshold {
                    scores[other] = f64::NAN;
                }
            }
            false
        });
        kept.push(Found { score: score as f32, ..found });
    }
}

/// A candidate by the score that it had when it was queued. The greatest is the best: of equal scores the lower class, then the
/// first candidate.
struct Queued {
    score: f64,
    class: usize,
    at: usize,
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then_with(|| (other.class, other.at).cmp(&(self.class, self.at)))
    }
}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Queued {}
