//! Selects a detector's boxes: first by score threshold, then by hard non-maximum suppression per class.

/// The selection rule; see the configuration keys of the same names.
pub struct Rule {
    /// A box is kept only if its score is greater than this.
    pub score_threshold: f32,
    /// A box is dropped if its overlap with a better box of its class is greater than this.
    pub iou_threshold: f32,
    /// The class that means "no object", if the model has one.
    pub background: Option<usize>,
    /// The maximum number of boxes to return.
    pub max_detections: usize,
}

/// A box that was selected.
pub struct Found {
    /// The index of the class.
    pub class: usize,
    /// Its score.
    pub score: f32,
    /// x1, y1, x2, y2 as the model returned them.
    pub r#box: [f32; 4],
}

/// Returns the boxes to report, best first. `scores` has `classes` numbers for each box, `boxes` has four. All numbers
/// must be finite.
pub fn select(rule: &Rule, scores: &[f32], classes: usize, boxes: &[f32]) -> Vec<Found> {
    let mut kept = Vec::new();
    for class in (0..classes).filter(|&class| Some(class) != rule.background) {
        let mut candidates: Vec<Found> = scores
            .chunks_exact(classes)
            .zip(boxes.as_chunks().0)
            .filter(|(scores, _)| scores[class] > rule.score_threshold)
            .map(|(scores, &r#box)| Found { class, score: scores[class], r#box })
            .collect();
        candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
        let first = kept.len();
        for candidate in candidates {
            // The reply has room for no more. Stopping here also keeps the work linear in the number of candidates.
            if kept.len() - first == rule.max_detections {
                break;
            }
            let better: &[Found] = &kept[first..];
            if better.iter().all(|other| overlap(&other.r#box, &candidate.r#box) <= rule.iou_threshold) {
                kept.push(candidate);
            }
        }
    }
    kept.sort_by(|a, b| b.score.total_cmp(&a.score));
    kept.truncate(rule.max_detections);
    kept
}

/// Intersection over union. A box without area has an overlap of 0 with every box.
fn overlap(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let area = |x1: f32, y1: f32, x2: f32, y2: f32| (x2 - x1).max(0.0) * (y2 - y1).max(0.0);
    let shared = area(a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3]));
    let union = area(a[0], a[1], a[2], a[3]) + area(b[0], b[1], b[2], b[3]) - shared;
    if union > 0.0 { shared / union } else { 0.0 }
}
