//! Reads the output as a map of classes.

use plimsoll_sdk::model::shape_text;
use plimsoll_sdk::{Tensor, TensorType};
use postprocess_core::outputs;

use crate::settings::{Format, Layout, Settings};

/// A PNG with a palette has 256 indices, the last of which is "no class".
const MAX_CLASSES_OF_PNG: u32 = 255;
/// A class is a u16, the last of which is "no class".
const MAX_CLASSES: u32 = u16::MAX as u32;

/// The class of each place of the model's output.
pub struct Map {
    /// The number of columns.
    pub width: usize,
    /// The number of rows.
    pub height: usize,
    /// The classes, row by row.
    pub classes: Vec<u16>,
}

/// The element types that are read.
pub fn types(layout: Layout) -> &'static [&'static str] {
    match layout {
        Layout::Classes => &["i64", "i32", "u8", "fp32", "fp16", "bf16", "fp64"],
        _ => outputs::FLOATS,
    }
}

/// The numbers of classes, rows and columns; `None` if they are dynamic. A map of classes has no number of classes.
type Sizes = [Option<u32>; 3];

/// Reads the shape of the output.
///
/// # Errors
/// If it is not that of the layout, or does not suit the threshold, the labels or the format. The message names the
/// output.
pub fn sizes(settings: &Settings, output: &str, shape: &[Option<u32>]) -> Result<Sizes, String> {
    let can_be_one = |size: Option<u32>| size.is_none_or(|size| size == 1);
    let sizes = match (settings.layout, shape) {
        (Layout::Nchw, &[image, classes, rows, columns]) if can_be_one(image) => Some([classes, rows, columns]),
        (Layout::Nhwc, &[image, rows, columns, classes]) if can_be_one(image) => Some([classes, rows, columns]),
        (Layout::Classes, &[image, rows, columns]) if can_be_one(image) => Some([None, rows, columns]),
        (Layout::Classes, &[image, channel, rows, columns])
            if can_be_one(image) && channel == Some(1) && columns != Some(1) =>
        {
            Some([None, rows, columns])
        }
        (Layout::Classes, &[image, rows, columns, channel]) if can_be_one(image) && can_be_one(channel) => {
            Some([None, rows, columns])
        }
        _ => None,
    };
    let Some(sizes) = sizes.filter(|sizes| !sizes.contains(&Some(0))) else {
        let expected = match settings.layout {
            Layout::Nhwc => "scores of shape [1, H, W, C] (`layout = \"nhwc\"`)",
            Layout::Classes => "classes of shape [1, H, W], [1, 1, H, W] or [1, H, W, 1] (`layout = \"classes\"`)",
            _ => "scores of shape [1, C, H, W] (`layout = \"nchw\"`)",
        };
        return Err(format!(
            "output `{output}` has the shape {}, but the plugin expects {expected}: set the configuration key `layout` to \
             the form of this output, set `output` to another one, or use another postprocess plugin",
            shape_text(shape)
        ));
    };
    if let [Some(classes), ..] = sizes {
        check_classes(settings, output, classes)?;
    }
    Ok(sizes)
}

fn check_classes(settings: &Settings, output: &str, channels: u32) -> Result<(), String> {
    let classes = match (channels, settings.threshold) {
        (1, Some(_)) => 2,
        (1, None) => {
            return Err(format!(
                "output `{output}` has a single channel, so all pixels would have the same class: set the configuration key \
                 `threshold` (0.5 for probabilities, 0 for logits), or `layout` to the form of this output"
            ));
        }
        (_, Some(_)) => {
            return Err(format!(
                "configuration key `threshold`: output `{output}` has {channels} channels, and a threshold is for a single \
                 one: remove the key, or set `layout` to the form of this output"
            ));
        }
        (channels, None) => channels,
    };
    if let Some(labels) = settings.labels().filter(|labels| *labels != classes as usize) {
        return Err(format!(
            "output `{output}` has {classes} classes, but the configured file of labels has {labels} labels: use the labels \
             of this model, including the label of the background, or set `layout` to the form of this output"
        ));
    }
    check_background(settings.background.filter(|_| settings.format != Format::Png), output, classes)?;
    let (limit, format) = match settings.format {
        Format::Png => (MAX_CLASSES_OF_PNG, " in a PNG"),
        Format::Rle | Format::Polygons => (MAX_CLASSES, ""),
    };
    if classes > limit {
        return Err(format!(
            "output `{output}` has {classes} classes, but this plugin has at most {limit}{format}: set the configuration key \
             `layout` to the form of this output, or `format` to `rle`"
        ));
    }
    Ok(())
}

/// Checks that the class that is left out is one of the model.
fn check_background(background: Option<u16>, output: &str, classes: u32) -> Result<(), String> {
    match background {
        Some(background) if u32::from(background) >= classes => Err(format!(
            "configuration key `background_class`: output `{output}` has {classes} classes, so there is no class {background}: \
             set the key to the index of the background class, or to -1 if there is none"
        )),
        _ => Ok(()),
    }
}

/// Reads the classes of a tensor.
///
/// # Errors
/// If the tensor has another type or shape, or a number that cannot be right. The message names the output.
pub fn read(settings: &Settings, name: &str, tensor: &Tensor) -> Result<Map, String> {
    let [channels, rows, columns] =
        sizes(settings, name, &outputs::shape(tensor))?.map(|size| size.unwrap_or(0) as usize);
    let classes = match (settings.layout, settings.threshold) {
        (Layout::Classes, _) => indices(settings, name, tensor)?,
        (_, Some(threshold)) => {
            outputs::numbers(name, tensor)?.into_iter().map(|score| u16::from(score > threshold)).collect()
        }
        (Layout::Nhwc, None) => outputs::numbers(name, tensor)?.chunks_exact(channels).map(best).collect(),
        (_, None) => best_of_planes(&outputs::numbers(name, tensor)?, rows * columns),
    };
    Ok(Map { width: columns, height: rows, classes })
}

/// The index of the greatest score, the first one of equal scores.
fn best(scores: &[f32]) -> u16 {
    let indexed = scores.iter().zip(0_u16..);
    indexed.reduce(|best, next| if next.0 > best.0 { next } else { best }).map_or(0, |(_, class)| class)
}

/// The same for each place of planes. Plane by plane, because the scores of a place are far from each other in memory.
fn best_of_planes(scores: &[f32], places: usize) -> Vec<u16> {
    let mut planes = scores.chunks_exact(places);
    let mut greatest = planes.next().unwrap_or_default().to_vec();
    let mut classes = vec![0; places];
    for (class, plane) in (1..).zip(planes) {
        for ((score, greatest), best) in plane.iter().zip(&mut greatest).zip(&mut classes) {
            if score > greatest {
                *greatest = *score;
                *best = class;
            }
        }
    }
    classes
}

/// The classes that the model has selected.
fn indices(settings: &Settings, name: &str, tensor: &Tensor) -> Result<Vec<u16>, String> {
    let limit = match (settings.labels(), settings.format) {
        (Some(labels), _) => labels as i64,
        (None, Format::Png) => i64::from(MAX_CLASSES_OF_PNG),
        (None, _) => i64::from(MAX_CLASSES),
    };
    let check = |class: i64| match u16::try_from(class) {
        Ok(index) if class < limit => Ok(index),
        _ => Err(format!("output `{name}`: {class} is not a class from 0 to {}", limit - 1)),
    };
    let data = || tensor.data();
    match tensor.ty() {
        TensorType::U8 => data().into_iter().map(|class| check(class.into())).collect(),
        TensorType::I32 => data().as_chunks().0.iter().map(|it| check(i32::from_le_bytes(*it).into())).collect(),
        TensorType::I64 => data().as_chunks().0.iter().map(|it| check(i64::from_le_bytes(*it))).collect(),
        _ => {
            let whole = |number: f32| match number.fract() == 0.0 {
                true => check(number as i64),
                false => Err(format!("output `{name}`: {number} is not a class, which is a whole number")),
            };
            outputs::numbers(name, tensor)?.into_iter().map(whole).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_background_class_that_the_model_does_not_have_is_refused() {
        assert_eq!(check_background(Some(20), "o", 21), Ok(()));
        assert_eq!(check_background(None, "o", 21), Ok(()));
        let message = check_background(Some(200), "o", 21).expect_err("refused");
        assert!(message.contains("`background_class`") && message.contains("no class 200"), "{message}");
    }
}
