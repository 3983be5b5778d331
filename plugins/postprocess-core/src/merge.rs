//! Merges what was found in overlapping parts of a picture, as `nms` and `batched_nms` of SAHI do
//! (`sahi/postprocess/combine.py`).

use std::collections::BTreeMap;

use crate::neighbours::Neighbours;
use crate::select::{Found, intersection};

/// How the overlap of two boxes is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Metric {
    /// The intersection over the area of the smaller box, so that a part of an object at the edge of a tile overlaps the
    /// whole object.
    Smaller,
    /// The intersection over the union.
    Union,
}

/// Which boxes are the same object.
pub struct Merge {
    /// How overlap is measured.
    pub metric: Metric,
    /// A box is dropped if its overlap with a better one is greater than this.
    pub threshold: f32,
    /// True if boxes of different classes can be the same object.
    pub is_class_agnostic: bool,
    /// The maximum number of boxes of a class.
    pub max_per_class: usize,
    /// The maximum number of boxes.
    pub max_detections: usize,
}

/// The boxes to report, best first; of equal scores the lower class, then the first box. All boxes are in pixels of the same
/// picture.
pub fn merge<T>(rule: &Merge, mut found: Vec<Found<T>>) -> Vec<Found<T>> {
    found.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.class.cmp(&b.class)));
    let threshold = f64::from(rule.threshold);
    // A part can be much smaller than the whole.
    let mut neighbours = Neighbours::new(match rule.metric {
        Metric::Smaller => threshold.min(0.0),
        Metric::Union => threshold,
    });
    let (mut kept, mut of_class) = (Vec::new(), BTreeMap::new());
    for candidate in found {
        if kept.len() >= rule.max_detections {
            break;
        }
        let group = if rule.is_class_agnostic { 0 } else { candidate.class };
        let is_over = |_, other: &[f32; 4]| overlap(rule.metric, other, &candidate.r#box) > threshold;
        let of_class: &mut usize = of_class.entry(candidate.class).or_default();
        if *of_class < rule.max_per_class && !neighbours.any(group, &candidate.r#box, is_over) {
            neighbours.add(group, kept.len(), candidate.r#box);
            *of_class += 1;
            kept.push(candidate);
        }
    }
    kept
}

fn overlap(metric: Metric, a: &[f32; 4], b: &[f32; 4]) -> f64 {
    let (shared, [first, second]) = intersection(a, b);
    let whole = match metric {
        Metric::Smaller => first.min(second),
        Metric::Union => first + second - shared,
    };
    if whole > 0.0 { shared / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_an_object_is_dropped_by_the_smaller_area_only() {
        let found = |class, score, r#box| Found { class, score, r#box, extra: () };
        let boxes = || {
            vec![
                found(0, 0.5, [0.0, 0.0, 100.0, 100.0]),
                found(0, 0.9, [50.0, 0.0, 200.0, 100.0]),
                found(0, 0.7, [60.0, 10.0, 90.0, 40.0]),
                found(1, 0.6, [50.0, 0.0, 200.0, 100.0]),
            ]
        };
        let rule = |metric, is_class_agnostic| Merge {
            metric,
            threshold: 0.45,
            is_class_agnostic,
            max_per_class: usize::MAX,
            max_detections: 100,
        };
        let scores = |found: Vec<Found<()>>| found.into_iter().map(|found| found.score).collect::<Vec<_>>();
        assert_eq!(scores(merge(&rule(Metric::Smaller, false), boxes())), [0.9, 0.6]);
        assert_eq!(scores(merge(&rule(Metric::Smaller, true), boxes())), [0.9]);
        assert_eq!(scores(merge(&rule(Metric::Union, false), boxes())), [0.9, 0.7, 0.6, 0.5]);
        let few = Merge { max_detections: 2, ..rule(Metric::Union, false) };
        assert_eq!(scores(merge(&few, boxes())), [0.9, 0.7]);
        let few = Merge { max_per_class: 1, ..rule(Metric::Union, false) };
        assert_eq!(scores(merge(&few, boxes())), [0.9, 0.6]);
    }
}
