//! Detectors that return points of each box: keypoints, or the four corners of a text.

use plimsoll_sdk::NamedTensor;
use postprocess_core::boxes::{self, Unit};
use postprocess_core::geometry::Geometry;
use postprocess_core::outputs;
use postprocess_core::select::{self, Rule};

use crate::found::Found;

/// The outputs with points.
pub(crate) struct Points {
    /// The name of the output with the points.
    pub(crate) points: String,
    /// The name of the output with the scores; empty if there is none.
    pub(crate) scores: String,
    /// The number of points of a box.
    pub(crate) count: usize,
    /// The unit of coordinates.
    pub(crate) unit: Unit,
    /// How boxes are selected.
    pub(crate) rule: Rule,
}

impl Points {
    /// The boxes over the threshold, best first.
    ///
    /// # Errors
    /// If an output is missing or cannot be right. The message names it.
    pub(crate) fn find(&self, geometry: &Geometry, tensors: &[NamedTensor]) -> Result<Vec<Found>, String> {
        let numbers = |key: &str, name: &str| -> Result<(Vec<u32>, Vec<f32>), String> {
            let found = tensors.iter().find(|(other, _)| other == name);
            let (_, tensor) = found.ok_or_else(|| {
                let names: Vec<_> = tensors.iter().map(|(name, _)| name.as_str()).collect();
                format!("there is no output `{name}`; the outputs are {names:?}: set the configuration key `{key}`")
            })?;
            Ok((tensor.dimensions(), outputs::numbers(name, tensor)?))
        };
        let (shape, values) = numbers("points", &self.points)?;
        let count = self.count as u32;
        let boxes = match *shape.as_slice() {
            [1, boxes, sizes] if sizes == 2 * count => boxes,
            [1, boxes, points, 2] if points == count => boxes,
            _ => {
                return Err(format!(
                    "output `{}` has the shape {shape:?}, but {count} points of each box are expected: [1, N, {}] or [1, N, \
                     {count}, 2]; set the configuration keys `points` and `template`",
                    self.points,
                    2 * count
                ));
            }
        } as usize;
        let scores = match self.scores.as_str() {
            "" => vec![1.0; boxes],
            name => {
                let (shape, scores) = numbers("scores", name)?;
                if !matches!(*shape.as_slice(), [1, found] | [1, found, 1] if found as usize == boxes) {
                    return Err(format!(
                        "output `{name}` has the shape {shape:?}, but there are {boxes} boxes: one score for each is \
                         expected, [1, {boxes}]; set the configuration key `scores`"
                    ));
                }
                outputs::probabilities(name, &scores)?;
                scores
            }
        };
        let mut candidates = Vec::new();
        for (score, points) in scores.into_iter().zip(values.chunks_exact(2 * self.count)) {
            if score <= self.rule.score_threshold && !self.scores.is_empty() {
                continue;
            }
            let points = points.as_chunks::<2>().0.to_vec();
            let r#box = around(&points);
            boxes::check(geometry, &r#box, self.unit)?;
            candidates.push(select::Found { class: 0, score, r#box, extra: points });
        }
        if !candidates.is_empty() {
            boxes::check_unit(geometry, self.unit, values.iter().copied())
                .map_err(|error| format!("output `{}`: {error}", self.points))?;
        }
        let original = |found: select::Found<Vec<[f32; 2]>>| {
            let points = found.extra.iter().map(|point| self.original(geometry, *point)).collect();
            // Two points on a line make a box without area, but not a crop without one.
            let [x1, y1, x2, y2] = found.r#box;
            let ([x1, y1], [x2, y2]) =
                (boxes::point(geometry, [x1, y1], self.unit), boxes::point(geometry, [x2, y2], self.unit));
            let score = (!self.scores.is_empty()).then_some(found.score);
            Found { r#box: [x1, y1, x2, y2], score, index: None, label: None, points }
        };
        Ok(select::select(&self.rule, candidates).into_iter().map(original).collect())
    }

    /// A point in pixels of the caller's image, which it may be outside of.
    fn original(&self, geometry: &Geometry, [x, y]: [f32; 2]) -> [f32; 2] {
        let (width, height) = match self.unit {
            Unit::Pixels => (1.0, 1.0),
            Unit::Fractions => (geometry.input_width, geometry.input_height),
        };
        [geometry.x(f64::from(x) * width) as f32, geometry.y(f64::from(y) * height) as f32]
    }
}

/// The upright box around points.
fn around(points: &[[f32; 2]]) -> [f32; 4] {
    let first = [f32::INFINITY, f32::INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY];
    points.iter().fold(first, |[x1, y1, x2, y2], [x, y]| [x1.min(*x), y1.min(*y), x2.max(*x), y2.max(*y)])
}
