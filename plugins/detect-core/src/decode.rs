//! Reads the numbers of the outputs as boxes, one function for each form of the layouts.

use postprocess_core::boxes;
use postprocess_core::geometry::Geometry;
use postprocess_core::outputs::probabilities;
use postprocess_core::select::Found;

use crate::check::{Sizes, finite};
use crate::grids;
use crate::layout::Kind;
use crate::settings::Settings;

/// The numbers of an output.
pub struct Numbers<'a> {
    /// The name of the output.
    pub name: &'a str,
    /// Its elements, row-major.
    pub values: Vec<f32>,
}

/// The boxes whose scores are over the threshold, with corners in the unit of the settings.
pub struct Candidates<'a> {
    settings: &'a Settings,
    geometry: &'a Geometry,
    found: Vec<Found<()>>,
}

/// Returns the boxes over the threshold in the order of the model. `outputs` are those of the layout, in its order.
///
/// # Errors
/// If a number cannot be right: the model, or the configured layout, is wrong. The message says which number.
pub fn decode(
    settings: &Settings,
    geometry: &Geometry,
    outputs: &[Numbers],
    sizes: Sizes,
) -> Result<Vec<Found<()>>, String> {
    for output in outputs {
        finite(output.name, &output.values)?;
    }
    let (count, classes) = (sizes.boxes.unwrap_or(0) as usize, sizes.classes.unwrap_or(0) as usize);
    let mut candidates = Candidates { settings, geometry, found: Vec::new() };
    match (settings.layout.kind, outputs) {
        (Kind::Decoded, [scores, corners]) => {
            probabilities(scores.name, &scores.values)?;
            for (scores, corners) in scores.values.chunks_exact(classes).zip(corners.values.as_chunks::<4>().0) {
                candidates.scored(scores, |score| score, *corners)?;
            }
        }
        (Kind::Yolov5 | Kind::Yolov7 | Kind::Yolox, [rows]) => candidates.rows(rows, classes, count)?,
        (Kind::Yolov8, [columns]) => candidates.columns(columns, count, classes)?,
        (Kind::EndToEnd, [rows]) => {
            for [corners @ .., score, class] in rows.values.as_chunks::<6>().0 {
                probabilities(rows.name, &[*score])?;
                candidates.indexed(*class, *score, *corners, rows.name)?;
            }
        }
        (kind @ (Kind::Ssd | Kind::Nms), [scores, corners, indices, valid @ ..]) => {
            probabilities(scores.name, &scores.values)?;
            let valid = valid.first().map_or(Ok(count), |valid| valid_rows(valid, count))?;
            let rows = scores.values.iter().zip(corners.values.as_chunks::<4>().0).zip(&indices.values);
            for ((score, &[first, second, third, fourth]), class) in rows.take(valid) {
                let corners = match kind {
                    Kind::Ssd => [second, first, fourth, third],
                    _ => [first, second, third, fourth],
                };
                candidates.indexed(*class, *score, corners, indices.name)?;
            }
        }
        (Kind::Detr, [logits, centres]) => {
            for (logits, centre) in logits.values.chunks_exact(classes + 1).zip(centres.values.as_chunks::<4>().0) {
                // The score is the softmax; the last class is "no object".
                let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f32 = logits.iter().map(|logit| (logit - greatest).exp()).sum();
                candidates.scored(&logits[..classes], |logit| (logit - greatest).exp() / sum, corners(*centre))?;
            }
        }
        (Kind::RtDetr, [logits, centres]) => {
            for (logits, centre) in logits.values.chunks_exact(classes).zip(centres.values.as_chunks::<4>().0) {
                candidates.scored(logits, sigmoid, corners(*centre))?;
            }
        }
        (Kind::Retinanet, [logits, differences]) => {
            let anchors = grids::anchors(settings, geometry, logits.name, count)?;
            let rows = logits.values.chunks_exact(classes).zip(differences.values.as_chunks::<4>().0);
            for ((logits, differences), anchor) in rows.zip(anchors) {
                candidates.scored(logits, sigmoid, corners(grids::moved(anchor, *differences)))?;
            }
        }
        (Kind::Fastestdet, [grid]) => {
            candidates.grid(grid, sizes.grid.map(|size| size.unwrap_or(0) as usize), classes)?
        }
        _ => {
            return Err(format!(
                "the outputs of the model do not fit the layout `{}`; set another `layout`",
                settings.layout.name
            ));
        }
    }
    // An output whose boxes are all below the threshold tells nothing of its unit: some models return zeros there.
    if !candidates.found.is_empty() {
        check_unit(settings, geometry, outputs, count)?;
    }
    Ok(candidates.found)
}

/// Checks that the coordinates of all boxes can have the configured unit.
fn check_unit(settings: &Settings, geometry: &Geometry, outputs: &[Numbers], boxes: usize) -> Result<(), String> {
    let check = |numbers: &mut dyn Iterator<Item = f32>| boxes::check_unit(geometry, settings.unit, numbers);
    match (settings.layout.kind, outputs) {
        (Kind::Yolov5 | Kind::Yolov7 | Kind::EndToEnd, [rows]) => {
            let numbers = rows.values.len() / boxes.max(1);
            check(&mut rows.values.chunks_exact(numbers.max(4)).flat_map(|row| row[..4].iter().copied()))
        }
        (Kind::Yolov8, [columns]) => check(&mut columns.values[..4 * boxes].iter().copied()),
        (Kind::Decoded | Kind::Ssd | Kind::Nms | Kind::Detr | Kind::RtDetr, [_, corners, ..]) => {
            check(&mut corners.values.iter().copied())
        }
        // These have no choice of the unit.
        _ => Ok(()),
    }
}

/// The number of rows that are valid.
fn valid_rows(count: &Numbers, boxes: usize) -> Result<usize, String> {
    match count.values.as_slice() {
        [value] if value.fract() == 0.0 && (0.0..=boxes as f32).contains(value) => Ok(*value as usize),
        other => Err(format!("output `{}`: {other:?} is not a number of boxes from 0 to {boxes}", count.name)),
    }
}

/// The corners of a box of centre, width and height.
fn corners([x, y, width, height]: [f32; 4]) -> [f32; 4] {
    [x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0]
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// The index and the value of the largest number; of equal numbers, the first.
fn greatest(numbers: &[f32]) -> Option<(usize, f32)> {
    numbers.iter().copied().enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best })
}

impl Candidates<'_> {
    /// Adds a box if its score is over the threshold.
    fn add(&mut self, class: usize, score: f32, r#box: [f32; 4]) -> Result<(), String> {
        if score > self.settings.rule.score_threshold && Some(class) != self.settings.rule.background {
            boxes::check(self.geometry, &r#box, self.settings.unit)?;
            // torchvision clips before the suppression, the other projects after it.
            let is_clipped = self.settings.layout.kind == Kind::Retinanet;
            let r#box = if is_clipped { boxes::clip(self.geometry, r#box) } else { r#box };
            self.found.push(Found { class, score, r#box, extra: () });
        }
        Ok(())
    }

    /// Adds a box with the scores of all its classes, before `probability` is applied to them. It must be increasing.
    fn scored(&mut self, scores: &[f32], probability: impl Fn(f32) -> f32, r#box: [f32; 4]) -> Result<(), String> {
        if self.settings.multi_label || matches!(self.settings.layout.kind, Kind::RtDetr | Kind::Retinanet) {
            return scores
                .iter()
                .enumerate()
                .try_for_each(|(class, score)| self.add(class, probability(*score), r#box));
        }
        match greatest(scores) {
            Some((class, score)) => self.add(class, probability(score), r#box),
            None => Ok(()),
        }
    }

    /// Adds a box with the index of its class, which is a number that must be whole.
    fn indexed(&mut self, class: f32, score: f32, r#box: [f32; 4], name: &str) -> Result<(), String> {
        if score <= self.settings.rule.score_threshold {
            return Ok(());
        }
        let first = self.settings.first_class as f32;
        let count = self.settings.labels.as_ref().map_or(1 << 16, Vec::len);
        if class.fract() != 0.0 || class < first || class - first >= count as f32 {
            return Err(format!(
                "output `{name}`: a box has the class {class}, but classes are whole numbers from {first} to {}: set the \
                 configuration keys `first_class` and `labels` to those of the model",
                first + count as f32 - 1.0
            ));
        }
        self.add((class - first) as usize, score, r#box)
    }

    /// Adds the boxes of YOLOv5, YOLOv7 or YOLOX: rows of centre, size, objectness and the probabilities of the classes.
    fn rows(&mut self, output: &Numbers, classes: usize, boxes: usize) -> Result<(), String> {
        let cells = match self.settings.layout.kind {
            Kind::Yolox => grids::cells(self.settings, self.geometry, output.name, boxes)?,
            _ => Vec::new(),
        };
        let (kind, threshold) = (self.settings.layout.kind, self.settings.rule.score_threshold);
        // YOLOX has no threshold for the objectness alone, and a probability may be a little over 1.
        let least_objectness = if kind == Kind::Yolox { threshold * 0.98 } else { threshold };
        // The probability of the only class is not trained in YOLOv7.
        let is_objectness = kind == Kind::Yolov7 && classes == 1;
        let mut scores = vec![0.0; classes];
        for (index, row) in output.values.chunks_exact(5 + classes).enumerate() {
            let Some(([x, y, width, height, objectness], probabilities_of_classes)) = row.split_first_chunk::<5>()
            else {
                continue;
            };
            probabilities(output.name, &row[4..])?;
            if *objectness <= least_objectness {
                continue;
            }
            for (score, probability) in scores.iter_mut().zip(probabilities_of_classes) {
                *score = if is_objectness { *objectness } else { probability * objectness };
            }
            let centre = match cells.get(index) {
                Some([column, row, stride]) => {
                    [(x + column) * stride, (y + row) * stride, width.exp() * stride, height.exp() * stride]
                }
                None => [*x, *y, *width, *height],
            };
            self.scored(&scores, |score| score, corners(centre))?;
        }
        Ok(())
    }

    /// Adds the boxes of YOLOv8: a column has centre, size and the probabilities of the classes.
    fn columns(&mut self, output: &Numbers, boxes: usize, classes: usize) -> Result<(), String> {
        let values = &output.values;
        probabilities(output.name, &values[4 * boxes..])?;
        // Row by row: the numbers of a column are far from each other in memory.
        let mut best = values[4 * boxes..5 * boxes].to_vec();
        for scores in values[5 * boxes..].chunks_exact(boxes.max(1)) {
            best.iter_mut().zip(scores).for_each(|(best, score)| *best = best.max(*score));
        }
        let mut scores = vec![0.0; classes];
        for (index, best) in best.iter().enumerate() {
            if *best <= self.settings.rule.score_threshold {
                continue;
            }
            scores.iter_mut().enumerate().for_each(|(class, score)| *score = values[(4 + class) * boxes + index]);
            let centre = [0, 1, 2, 3].map(|place| values[place * boxes + index]);
            self.scored(&scores, |score| score, corners(centre))?;
        }
        Ok(())
    }

    /// Adds the boxes of FastestDet: for each cell its objectness, four numbers of its box, and the probabilities of the
    /// classes.
    fn grid(&mut self, output: &Numbers, [rows, columns]: [usize; 2], classes: usize) -> Result<(), String> {
        let cells = rows * columns;
        probabilities(output.name, &output.values[..cells])?;
        probabilities(output.name, &output.values[5 * cells..])?;
        let number = |channel: usize, cell: usize| output.values[channel * cells + cell];
        let mut scores = vec![0.0; classes];
        for cell in 0..cells {
            // By rounding, a probability may be a little less than 0. Its power would be NaN, so it counts as 0. Computed in f64, so that scores that
            // should be equal do not differ because their powers are rounded.
            let power = |probability: f32, exponent: f64| f64::from(probability.max(0.0)).powf(exponent);
            let objectness = power(number(0, cell), 0.6);
            for (class, score) in scores.iter_mut().enumerate() {
                *score = (objectness * power(number(5 + class, cell), 0.4)) as f32;
            }
            let x = (number(1, cell).tanh() + (cell % columns) as f32) / columns as f32;
            let y = (number(2, cell).tanh() + (cell / columns) as f32) / rows as f32;
            let r#box = corners([x, y, sigmoid(number(3, cell)), sigmoid(number(4, cell))]);
            self.scored(&scores, |score| score, r#box)?;
        }
        Ok(())
    }
}
