//! The choice among a detector's boxes: the score threshold, then hard non-maximum suppression by class.

/// The thresholds; see the configuration keys of the same names.
pub struct Rule {
    /// What a score must exceed.
    pub score_threshold: f32,
    /// The overlap above which the weaker box is dropped.
    pub iou_threshold: f32,
    /// The class that is no detection.
    pub background: Option<usize>,
    /// The most boxes to give.
    pub max_detections: usize,
}

/// A box that was kept.
pub struct Found {
    /// The index of the class.
    pub class: usize,
    /// Its score.
    pub score: f32,
    /// x1, y1, x2, y2 as the model gave them.
    pub r#box: [f32; 4],
}

/// The boxes to report, best first. `scores` holds `classes` numbers for each box, `boxes` four.
pub fn select(rule: &Rule, scores: &[f32], classes: usize, boxes: &[f32]) -> Vec<Found> {
    let mut kept = Vec::new();
    for class in (0..classes).filter(|&class| Some(class) != rule.background) {
        // A score that is no number exceeds nothing, so NaN drops out here.
        let mut candidates: Vec<Found> = scores
            .chunks_exact(classes)
            .zip(boxes.as_chunks().0)
            .filter(|(scores, _)| scores[class] > rule.score_threshold)
            .filter(|(_, corners)| corners.iter().all(|value| value.is_finite()))
            .map(|(scores, &r#box)| Found { class, score: scores[class], r#box })
            .collect();
        candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
        let first = kept.len();
        for candidate in candidates {
            // The reply shows no more, and the work stays linear in the number of candidates.
            if kept.len() - first == rule.max_detections {
                break;
            }
            let rivals: &[Found] = &kept[first..];
            if rivals.iter().all(|rival| overlap(&rival.r#box, &candidate.r#box) <= rule.iou_threshold) {
                kept.push(candidate);
            }
        }
    }
    kept.sort_by(|a, b| b.score.total_cmp(&a.score));
    kept.truncate(rule.max_detections);
    kept
}

/// Intersection over union. Boxes without area overlap nothing.
fn overlap(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let area = |x1: f32, y1: f32, x2: f32, y2: f32| (x2 - x1).max(0.0) * (y2 - y1).max(0.0);
    let shared = area(a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3]));
    let union = area(a[0], a[1], a[2], a[3]) + area(b[0], b[1], b[2], b[3]) - shared;
    if union > 0.0 { shared / union } else { 0.0 }
}
