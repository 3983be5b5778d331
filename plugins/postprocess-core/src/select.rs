//! Selects a detector's boxes: hard or soft non-maximum suppression, and the maximum numbers of boxes.

use plimsoll_sdk::config;

use crate::neighbours::Neighbours;
use crate::soft::soft;

/// The selection rule; see the configuration keys of the same names.
pub struct Rule {
    /// A box is kept only if its score is greater than this.
    pub score_threshold: f32,
    /// What happens to a box that overlaps a better one.
    pub suppression: Suppression,
    /// The class that means "no object", if the model has one.
    pub background: Option<usize>,
    /// The maximum number of boxes of a class to return.
    pub max_per_class: usize,
    /// The maximum number of boxes to return.
    pub max_detections: usize,
}

/// The most boxes that may be kept if each candidate is compared with its neighbours among those that are kept: if all are at
/// one place, this many times 100,000 candidates take seconds.
const MAX_COMPARED: usize = 10_000;
/// The same for soft suppression, which computes an exponential for each neighbour of a kept box.
const MAX_SOFT: usize = 1_000;

/// Reads a key with a maximum number of boxes.
///
/// # Errors
/// If it is not a number of at least 1: with 0, all replies would be empty. The message names the key.
pub fn limit(key: &str, default: usize) -> Result<usize, String> {
    at_least_one(key, config::parse(key, default)?)
}

/// Reads `max_detections`.
///
/// # Errors
/// If it is 0, or so large that the suppression of boxes could take longer than a request may. The message names the key.
pub fn max_detections(suppression: Suppression, default: usize) -> Result<usize, String> {
    bounded(suppression, limit("max_detections", default)?)
}

fn bounded(suppression: Suppression, number: usize) -> Result<usize, String> {
    let (most, nms) = match suppression {
        Suppression::None => return Ok(number),
        Suppression::Soft(_) => (MAX_SOFT, "nms = \"soft\""),
        Suppression::PerClass(_) | Suppression::ClassAgnostic(_) => (MAX_COMPARED, "this `nms`"),
    };
    if number <= most {
        return Ok(number);
    }
    Err(format!(
        "configuration key `max_detections`: {number} is more than {most}, the maximum with {nms}: the time grows with this \
         number times the number of boxes. Set it to at most {most}, or `nms` to `none`, which has no maximum"
    ))
}

impl Rule {
    /// Reads the keys `score_threshold` (default 0.25), `nms` (`per-class`, `class-agnostic` or `none`), `iou_threshold`
    /// (default 0.7) and `max_detections` (default 100), as of the models of Ultralytics. `is_end_to_end` is true if the
    /// model suppresses boxes itself, so that `none` is the default.
    ///
    /// # Errors
    /// A message that names the key that is malformed or in conflict with another key.
    pub fn read(is_end_to_end: bool) -> Result<Rule, String> {
        let iou_threshold = config::fraction("iou_threshold", 0.7)?;
        let mut choices = [
            ("per-class", Suppression::PerClass(iou_threshold)),
            ("class-agnostic", Suppression::ClassAgnostic(iou_threshold)),
            ("none", Suppression::None),
        ];
        if is_end_to_end {
            // The first choice is the default.
            choices.rotate_right(1);
        }
        let suppression = config::choice("nms", &choices)?;
        if suppression == Suppression::None && config::get("iou_threshold").is_some() {
            return Err("configuration key `iou_threshold` cannot be used with `nms = \"none\"`".into());
        }
        Ok(Rule {
            score_threshold: config::fraction("score_threshold", 0.25)?,
            suppression,
            background: None,
            max_per_class: usize::MAX,
            max_detections: max_detections(suppression, 100)?,
        })
    }
}

fn at_least_one(key: &str, number: usize) -> Result<usize, String> {
    match number {
        0 => Err(format!("configuration key `{key}`: with 0 all replies would be empty; set it to at least 1")),
        number => Ok(number),
    }
}

/// What happens to a box that overlaps a better one. Overlap is the intersection over the union.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Suppression {
    /// It is dropped if its overlap with a kept box of its class is greater than this.
    PerClass(f32),
    /// It is dropped if its overlap with a kept box of any class is greater than this.
    ClassAgnostic(f32),
    /// For each better box of its class, its score is multiplied by exp(-overlap² / this); it is dropped if its score is
    /// then no longer over the threshold.
    Soft(f32),
    /// Nothing.
    None,
}

/// A box with one of its classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Found<T> {
    /// The index of the class.
    pub class: usize,
    /// Its score.
    pub score: f32,
    /// x1, y1, x2, y2 in the unit of the model.
    pub r#box: [f32; 4],
    /// Further data of the box.
    pub extra: T,
}

/// Returns the boxes to report, best first; of equal scores the lower class, then the first box. The candidates are in
/// the order of the model's boxes, and their scores are over the threshold.
pub fn select<T>(rule: &Rule, mut candidates: Vec<Found<T>>) -> Vec<Found<T>> {
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.class.cmp(&b.class)));
    let mut kept = Kept { boxes: Vec::new(), of_class: Vec::new(), rule };
    match rule.suppression {
        Suppression::PerClass(limit) => hard(candidates, limit, |found| found.class, &mut kept),
        Suppression::ClassAgnostic(limit) => hard(candidates, limit, |_| 0, &mut kept),
        Suppression::Soft(sigma) => soft(candidates, sigma, &mut kept),
        Suppression::None => candidates.into_iter().for_each(|found| kept.push(found)),
    }
    kept.boxes
}

/// The boxes that are kept.
pub(crate) struct Kept<'r, T> {
    pub(crate) boxes: Vec<Found<T>>,
    /// The number of boxes of each class.
    pub(crate) of_class: Vec<usize>,
    pub(crate) rule: &'r Rule,
}

impl<T> Kept<'_, T> {
    pub(crate) fn is_full(&self) -> bool {
        self.boxes.len() >= self.rule.max_detections
    }

    pub(crate) fn has_room(&self, class: usize) -> bool {
        self.of_class.get(class).copied().unwrap_or(0) < self.rule.max_per_class
    }

    /// Keeps a box if there is room for it.
    pub(crate) fn push(&mut self, found: Found<T>) {
        if self.is_full() || !self.has_room(found.class) {
            return;
        }
        if self.of_class.len() <= found.class {
            self.of_class.resize(found.class + 1, 0);
        }
        self.of_class[found.class] += 1;
        self.boxes.push(found);
    }
}

/// Greedy suppression: a box is dropped if it overlaps a kept box of its group.
fn hard<T>(candidates: Vec<Found<T>>, limit: f32, group: impl Fn(&Found<T>) -> usize, kept: &mut Kept<T>) {
    let limit = f64::from(limit);
    let mut neighbours = Neighbours::new(limit);
    for candidate in candidates {
        // The reply has room for no more. Stopping here also keeps the work linear in the number of candidates.
        if kept.is_full() {
            break;
        }
        let (corners, group) = (candidate.r#box, group(&candidate));
        let is_over = |_, other: &[f32; 4]| overlap(other, &corners) > limit;
        if kept.has_room(candidate.class) && !neighbours.any(group, &corners, is_over) {
            neighbours.add(group, kept.boxes.len(), corners);
            kept.push(candidate);
        }
    }
}

/// Intersection over union. A box without area has an overlap of 0 with every box.
pub(crate) fn overlap(a: &[f32; 4], b: &[f32; 4]) -> f64 {
    // Most boxes are apart.
    if a[2] <= b[0] || b[2] <= a[0] || a[3] <= b[1] || b[3] <= a[1] {
        return 0.0;
    }
    let (shared, [first, second]) = intersection(a, b);
    let union = first + second - shared;
    if union > 0.0 { shared / union } else { 0.0 }
}

/// The area that two boxes share, and the areas of both.
pub(crate) fn intersection(a: &[f32; 4], b: &[f32; 4]) -> (f64, [f64; 2]) {
    let [a, b] = [a, b].map(|corners| corners.map(f64::from));
    let area = |x1: f64, y1: f64, x2: f64, y2: f64| (x2 - x1).max(0.0) * (y2 - y1).max(0.0);
    let shared = area(a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3]));
    (shared, [area(a[0], a[1], a[2], a[3]), area(b[0], b[1], b[2], b[3])])
}

/// The rule without configuration, and without suppression.
impl Default for Rule {
    fn default() -> Self {
        Self {
            score_threshold: 0.25,
            suppression: Suppression::None,
            background: None,
            max_per_class: usize::MAX,
            max_detections: 100,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_maximum_of_zero_is_refused() {
        assert_eq!(at_least_one("max_detections", 1), Ok(1));
        let message = at_least_one("max_detections", 0).expect_err("refused");
        assert!(message.contains("`max_detections`") && message.contains("at least 1"), "{message}");
    }

    #[test]
    fn a_maximum_that_takes_too_long_is_refused() {
        assert_eq!(bounded(Suppression::PerClass(0.5), MAX_COMPARED), Ok(MAX_COMPARED));
        assert_eq!(bounded(Suppression::None, usize::MAX), Ok(usize::MAX));
        for suppression in [Suppression::PerClass(0.5), Suppression::ClassAgnostic(0.5), Suppression::Soft(0.5)] {
            let message = bounded(suppression, MAX_COMPARED + 1).expect_err("refused");
            assert!(message.contains("`max_detections`") && message.contains("`nms` to `none`"), "{message}");
        }
        assert!(bounded(Suppression::Soft(0.5), MAX_SOFT + 1).is_err());
    }
}
