//! Reads the output of detectors that return keypoints with each box.

use postprocess_core::boxes::{self, Unit};
use postprocess_core::geometry::Geometry;
use postprocess_core::outputs::probabilities;
use postprocess_core::select::{Found, select};

use crate::settings::{Layout, Settings};
use crate::shape::Sizes;
use crate::{Keypoint, Person};

/// Coordinates that are between these numbers in all boxes are probabilities. A quantised model may return a little less than
/// 0 or more than 1.
const PROBABILITIES: [f32; 2] = [-0.01, 1.01];
/// In a smaller input, all keypoints can be near its corner.
const LEAST_SIDE: f64 = 16.0;

/// The output as numbers of boxes.
struct Output<'a> {
    numbers: &'a [f32],
    count: usize,
    /// The numbers of a box.
    channels: usize,
    /// True if the numbers of a box are next to each other.
    is_rows: bool,
}

impl Output<'_> {
    fn number(&self, channel: usize, index: usize) -> f32 {
        match self.is_rows {
            true => self.numbers[index * self.channels + channel],
            false => self.numbers[channel * self.count + index],
        }
    }

    fn check_probabilities(&self, name: &str, channel: usize) -> Result<(), String> {
        match self.is_rows {
            true => (0..self.count).try_for_each(|index| probabilities(name, &[self.number(channel, index)])),
            false => probabilities(name, &self.numbers[channel * self.count..(channel + 1) * self.count]),
        }
    }
}

/// The persons in the output with this name, best first. Sizes are the numbers of keypoints and of boxes.
///
/// # Errors
/// If a number cannot be right: the model, or the configured layout, is wrong. The message says which number.
pub fn people(
    settings: &Settings,
    geometry: &Geometry,
    (name, numbers): (&str, &[f32]),
    [keypoints, count, _]: Sizes<usize>,
) -> Result<Vec<Person>, String> {
    let is_rows = settings.layout == Layout::EndToEnd;
    // The scores: of the classes, or of the best class and its index.
    let (scores, first) = if is_rows { (4..5, 6) } else { (4..4 + settings.classes, 4 + settings.classes) };
    let output = Output { numbers, count, channels: first + keypoints * settings.dimensions, is_rows };
    let scores_of_keypoints = (0..keypoints).filter(|_| settings.dimensions == 3).map(|index| first + 3 * index + 2);
    scores.clone().chain(scores_of_keypoints).try_for_each(|channel| output.check_probabilities(name, channel))?;

    if !is_rows && keypoints > 0 {
        let first_keypoint =
            (0..count).flat_map(|index| [output.number(first, index), output.number(first + 1, index)]);
        check_classes(settings, geometry, name, first_keypoint)?;
    }

    let mut found = Vec::new();
    for index in 0..count {
        // The first one of equal scores.
        let classes = scores.clone().map(|channel| output.number(channel, index)).enumerate();
        let best = classes.reduce(|best, next| if next.1 > best.1 { next } else { best });
        let Some((class, score)) = best.filter(|(_, score)| *score > settings.rule.score_threshold) else { continue };
        let [a, b, c, d] = [0, 1, 2, 3].map(|channel| output.number(channel, index));
        let (class, corners) = match is_rows {
            true => (whole_class(settings, name, output.number(5, index))?, [a, b, c, d]),
            false => (class, [a - c / 2.0, b - d / 2.0, a + c / 2.0, b + d / 2.0]),
        };
        boxes::check(geometry, &corners, settings.unit)?;
        found.push(Found { class, score, r#box: corners, extra: index });
    }
    if !found.is_empty() {
        let coordinates = (0..count).flat_map(|index| (0..4).map(move |channel| (channel, index)));
        let numbers = coordinates.map(|(channel, index)| output.number(channel, index));
        boxes::check_unit(geometry, settings.unit, numbers).map_err(|error| format!("output `{name}`: {error}"))?;
    }
    let person = |found: Found<usize>| {
        let corners = boxes::to_original(geometry, found.r#box, settings.unit)?;
        let keypoint = |index: usize| {
            let channel = first + index * settings.dimensions;
            let number = |more| output.number(channel + more, found.extra);
            let [x, y] = boxes::point(geometry, [number(0), number(1)], settings.unit);
            let score = (settings.dimensions == 3).then(|| number(2));
            Keypoint { label: settings.keypoint(index), x, y, score }
        };
        Some(Person {
            label: Some(settings.label(found.class)),
            index: Some(found.class),
            score: Some(found.score),
            r#box: Some(corners),
            keypoints: (0..keypoints).map(keypoint).collect(),
        })
    };
    Ok(select(&settings.rule, found).into_iter().filter_map(person).collect())
}

/// Checks that the first keypoint of all boxes is one: with a number of classes that is too small, it would be the
/// probabilities of the next classes.
fn check_classes(
    settings: &Settings,
    geometry: &Geometry,
    name: &str,
    first_keypoint: impl Iterator<Item = f32>,
) -> Result<(), String> {
    let is_small = geometry.input_width.min(geometry.input_height) < LEAST_SIDE;
    let mut numbers = first_keypoint.peekable();
    if settings.unit == Unit::Fractions || is_small || numbers.peek().is_none() {
        return Ok(());
    }
    if numbers.all(|number| (PROBABILITIES[0]..=PROBABILITIES[1]).contains(&number)) {
        return Err(format!(
            "output `{name}`: x and y of the first keypoint are from 0 to 1 pixel in all boxes, so they seem to be probabilities: \
             the model has more than {} classes (set the configuration key `classes`)",
            settings.classes
        ));
    }
    Ok(())
}

/// The class of a row, which is a number that must be whole.
fn whole_class(settings: &Settings, name: &str, class: f32) -> Result<usize, String> {
    let count = settings.labels.as_ref().map_or(1 << 16, Vec::len);
    if class.fract() == 0.0 && (0.0..count as f32).contains(&class) {
        return Ok(class as usize);
    }
    Err(format!(
        "output `{name}`: a box has the class {class}, but classes are whole numbers from 0 to {}: set the configuration \
         key `labels` to those of the model, or `layout` to its form",
        count - 1
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of a model with four classes and one keypoint, in an input of 64 x 64 pixels, for so many configured
    /// classes. The person is of class 2.
    fn read(classes: usize, unit: Unit, side: f32) -> Result<Vec<Person>, String> {
        let context = r#"{"width":64,"height":64,"input_width":64,"input_height":64,"scale_x":1,"scale_y":1,"offset_x":0,
                          "offset_y":0}"#;
        let geometry = Geometry::parse(context.as_bytes()).expect("a context");
        // Two boxes: centre and size, classes, keypoint.
        let first = [0.5, 0.5, 0.25, 0.25].map(|number| number * side);
        let numbers: Vec<f32> = first
            .into_iter()
            .chain([0.1, 0.2, 0.9, 0.3, 0.5 * side, 0.4 * side, 0.7])
            .flat_map(|number| [number, number * 0.5])
            .collect();
        let keypoints = (11 - 4 - classes) / 3;
        people(&Settings::of(classes, unit), &geometry, ("o", &numbers), [keypoints, 2, 1])
    }

    #[test]
    fn probabilities_of_classes_are_not_a_keypoint() {
        let found = read(4, Unit::Pixels, 64.0).expect("persons");
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].index, found[0].keypoints.len()), (Some(2), 1));
        let Err(message) = read(1, Unit::Pixels, 64.0) else { panic!("it is answered") };
        assert!(message.contains("`o`") && message.contains("set the configuration key `classes`"), "{message}");
    }

    #[test]
    fn fractions_are_not_pixels() {
        assert_eq!(read(4, Unit::Fractions, 1.0).expect("persons").len(), 2);
        let Err(message) = read(4, Unit::Pixels, 1.0) else { panic!("it is answered") };
        assert!(message.contains("`o`"), "{message}");
    }
}
