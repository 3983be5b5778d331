//! Reads the output of detectors that return keypoints with each box.

use postprocess_core::box_output::{BoxOutput, Form};
use postprocess_core::boxes::{self, Unit};
use postprocess_core::geometry::Geometry;
use postprocess_core::select::{Found, select};

use crate::settings::{Layout, Settings};
use crate::shape::Sizes;
use crate::{Keypoint, Person};

/// Coordinates that are between these numbers in all boxes are probabilities. A quantised model may return a little less than
/// 0 or more than 1.
const PROBABILITIES: [f32; 2] = [-0.01, 1.01];
/// In a smaller input, all keypoints can be near its corner.
const LEAST_SIDE: f64 = 16.0;

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
    let form = match settings.layout {
        Layout::EndToEnd => Form::Rows,
        _ => Form::Columns { classes: settings.classes },
    };
    let first = form.first();
    let output = BoxOutput { name, numbers, count, more: keypoints * settings.dimensions, form };
    let mut scores_of_keypoints =
        (0..keypoints).filter(|_| settings.dimensions == 3).map(|index| first + 3 * index + 2);
    scores_of_keypoints.try_for_each(|channel| output.check_probabilities(channel))?;
    let labels = settings.labels.as_ref().map(Vec::len);
    let found = output.candidates(geometry, settings.unit, settings.rule.score_threshold, labels);
    if form != Form::Rows && keypoints > 0 {
        let first_keypoint =
            (0..count).flat_map(|index| [output.number(first, index), output.number(first + 1, index)]);
        check_classes(settings, geometry, name, first_keypoint)?;
    }
    let found = found?;
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
