//! The output of detectors of the YOLO family that return more numbers with each box: keypoints, or coefficients of masks.

use crate::boxes::{self, Unit};
use crate::geometry::Geometry;
use crate::outputs::probabilities;
use crate::select::Found;

/// Class indices are less than this if there are no labels.
const MAX_CLASSES: usize = 1 << 16;

/// How the numbers of a box are arranged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `[1, 4 + C + K, N]`: centre and size, the probabilities of C classes, K more numbers.
    Columns {
        /// C.
        classes: usize,
    },
    /// `[1, N, 6 + K]`: corners, probability, class, K more numbers.
    Rows,
}

impl Form {
    /// The numbers of a box before the K more numbers.
    pub fn first(self) -> usize {
        match self {
            Form::Columns { classes } => 4 + classes,
            Form::Rows => 6,
        }
    }
}

/// The output as numbers of boxes.
pub struct BoxOutput<'a> {
    /// The name of the output.
    pub name: &'a str,
    /// Its elements, row-major. All of them are finite.
    pub numbers: &'a [f32],
    /// The number of boxes, N.
    pub count: usize,
    /// The number of more numbers, K.
    pub more: usize,
    /// How they are arranged.
    pub form: Form,
}

impl BoxOutput<'_> {
    /// A number of the box with this index.
    pub fn number(&self, channel: usize, index: usize) -> f32 {
        match self.form {
            Form::Rows => self.numbers[index * (6 + self.more) + channel],
            Form::Columns { .. } => self.numbers[channel * self.count + index],
        }
    }

    /// Checks that the numbers of a channel are probabilities in all boxes.
    ///
    /// # Errors
    /// If one is not from 0 to 1. The message names the output.
    pub fn check_probabilities(&self, channel: usize) -> Result<(), String> {
        match self.form {
            Form::Rows => {
                (0..self.count).try_for_each(|index| probabilities(self.name, &[self.number(channel, index)]))
            }
            Form::Columns { .. } => {
                probabilities(self.name, &self.numbers[channel * self.count..(channel + 1) * self.count])
            }
        }
    }

    /// The boxes whose score is over the threshold, with the class of the greatest score, in the order of the model. The extra
    /// data of a box are its index. `labels` is the number of labels, if there are labels.
    ///
    /// # Errors
    /// If a number cannot be right: the model, or the configured layout, is wrong. The message says which number.
    pub fn candidates(
        &self,
        geometry: &Geometry,
        unit: Unit,
        threshold: f32,
        labels: Option<usize>,
    ) -> Result<Vec<Found<usize>>, String> {
        let scores = match self.form {
            Form::Rows => 4..5,
            Form::Columns { classes } => 4..4 + classes,
        };
        scores.clone().try_for_each(|channel| self.check_probabilities(channel))?;
        let mut found = Vec::new();
        for index in 0..self.count {
            // The first one of equal scores.
            let classes = scores.clone().map(|channel| self.number(channel, index)).enumerate();
            let best = classes.reduce(|best, next| if next.1 > best.1 { next } else { best });
            let Some((class, score)) = best.filter(|(_, score)| *score > threshold) else { continue };
            let [a, b, c, d] = [0, 1, 2, 3].map(|channel| self.number(channel, index));
            let (class, corners) = match self.form {
                Form::Rows => (self.whole_class(self.number(5, index), labels)?, [a, b, c, d]),
                Form::Columns { .. } => (class, [a - c / 2.0, b - d / 2.0, a + c / 2.0, b + d / 2.0]),
            };
            boxes::check(geometry, &corners, unit)?;
            found.push(Found { class, score, r#box: corners, extra: index });
        }
        // An output whose boxes are all below the threshold tells nothing of its unit.
        if !found.is_empty() {
            let coordinates = (0..self.count).flat_map(|index| (0..4).map(move |channel| (channel, index)));
            let numbers = coordinates.map(|(channel, index)| self.number(channel, index));
            boxes::check_unit(geometry, unit, numbers).map_err(|error| format!("output `{}`: {error}", self.name))?;
        }
        Ok(found)
    }

    /// The class of a row, which is a number that must be whole.
    fn whole_class(&self, class: f32, labels: Option<usize>) -> Result<usize, String> {
        let count = labels.unwrap_or(MAX_CLASSES);
        if class.fract() == 0.0 && (0.0..count as f32).contains(&class) {
            return Ok(class as usize);
        }
        Err(format!(
            "output `{}`: a box has the class {class}, but classes are whole numbers from 0 to {}: set the configuration \
             key `labels` to those of the model, or `layout` to its form",
            self.name,
            count - 1
        ))
    }
}
