//! Reads the output as pixels.

use plimsoll_sdk::model::shape_text;
use plimsoll_sdk::{Tensor, TensorType};
use postprocess_core::outputs;

use crate::settings::{Range, Settings};

/// The element types that are read.
pub const TYPES: &[&str] = &["fp32", "fp16", "bf16", "fp64", "u8"];
/// A number may be outside of the range by this part of it.
const OVERSHOOT: f64 = 0.5;

/// An image.
pub struct Image {
    /// The number of columns.
    pub width: u32,
    /// The number of rows.
    pub height: u32,
    /// True if a pixel has three bytes, red, green, blue; false if it has one.
    pub is_coloured: bool,
    /// The bytes, row by row.
    pub bytes: Vec<u8>,
}

/// The numbers of channels, rows and columns; `None` if they are dynamic.
type Sizes = [Option<u32>; 3];

/// Reads the shape of the output.
///
/// # Errors
/// If it is not that of one image. The message names the output.
pub fn sizes(settings: &Settings, output: &str, shape: &[Option<u32>]) -> Result<Sizes, String> {
    let image = match *shape {
        [rows, columns] => Some([Some(1), rows, columns]),
        [one, a, b, c] if one.is_none_or(|one| one == 1) => Some(if settings.is_nhwc { [c, a, b] } else { [a, b, c] }),
        [a, b, c] => Some(if settings.is_nhwc { [c, a, b] } else { [a, b, c] }),
        _ => None,
    };
    let is_image = |[channels, rows, columns]: &Sizes| {
        channels.is_none_or(|channels| channels == 1 || channels == 3) && *rows != Some(0) && *columns != Some(0)
    };
    image.filter(is_image).ok_or_else(|| {
        let expected = match settings.is_nhwc {
            true => "[1, H, W, C] (`layout = \"nhwc\"`)",
            false => "[1, C, H, W] (`layout = \"nchw\"`)",
        };
        format!(
            "output `{output}` has the shape {}, but an image has the shape {expected} with 1 or 3 channels: set the \
             configuration key `layout` to the form of this output, or `output` to another one",
            shape_text(shape)
        )
    })
}

/// Reads the pixels of a tensor.
///
/// # Errors
/// If the tensor has another type or shape, or a number that cannot be right. The message names the output.
pub fn read(settings: &Settings, name: &str, tensor: &Tensor) -> Result<Image, String> {
    let [channels, rows, columns] =
        sizes(settings, name, &outputs::shape(tensor))?.map(|size| size.unwrap_or(0) as usize);
    let is_bytes = tensor.ty() == TensorType::U8;
    let range = match settings.range {
        Range::Default if is_bytes => Range::Fixed(0.0, 255.0),
        Range::Default => Range::Fixed(0.0, 1.0),
        other => other,
    };
    let bytes = match (is_bytes, range) {
        (true, Range::Fixed(0.0, 255.0)) => tensor.data(),
        (true, _) => quantise(name, &tensor.data(), range)?,
        (false, _) if tensor.ty() == TensorType::Fp64 => quantise(name, &outputs::wide_numbers(name, tensor)?, range)?,
        (false, _) => quantise(name, &outputs::numbers(name, tensor)?, range)?,
    };
    let bytes = match (channels, settings.is_nhwc, settings.is_bgr) {
        (1, ..) | (_, true, false) => bytes,
        (_, true, true) => {
            let pixels = bytes.as_chunks::<3>().0.iter();
            pixels.flat_map(|[blue, green, red]| [*red, *green, *blue]).collect()
        }
        (_, false, is_bgr) => {
            let (first, rest) = bytes.split_at(rows * columns);
            let (second, third) = rest.split_at(rows * columns);
            let (red, blue) = if is_bgr { (third, first) } else { (first, third) };
            red.iter().zip(second).zip(blue).flat_map(|((red, green), blue)| [*red, *green, *blue]).collect()
        }
    };
    Ok(Image { width: columns as u32, height: rows as u32, is_coloured: channels == 3, bytes })
}

/// The bytes of numbers.
fn quantise<T: Copy + Into<f64>>(name: &str, numbers: &[T], range: Range) -> Result<Vec<u8>, String> {
    let wide = || numbers.iter().map(|number| (*number).into());
    let (least, greatest) = (wide().fold(f64::INFINITY, f64::min), wide().fold(f64::NEG_INFINITY, f64::max));
    let (first, second) = match range {
        Range::Fixed(first, second) => (first, second),
        _ if least == greatest => return Ok(vec![0; numbers.len()]),
        _ => (least, greatest),
    };
    let part = |number: f64| (number - first) / (second - first);
    for number in [least, greatest] {
        if !(-OVERSHOOT..=1.0 + OVERSHOOT).contains(&part(number)) {
            return Err(format!(
                "output `{name}`: the number {number} is far outside of the range from {first} to {second}: set the \
                 configuration key `range` to that of the model, or to \"image\""
            ));
        }
    }
    // A conversion to u8 clamps.
    Ok(wide().map(|number| (part(number) * 255.0 + 0.5).floor() as u8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_and_clamped_and_never_of_another_range() {
        let unit = Range::Fixed(0.0, 1.0);
        assert_eq!(quantise("o", &[0.0, 0.5, 1.0, -0.4, 1.4], unit), Ok(vec![0, 128, 255, 0, 255]));
        assert_eq!(quantise("o", &[1.0, -1.0], Range::Fixed(1.0, -1.0)), Ok(vec![0, 255]));
        assert_eq!(quantise("o", &[-3.0, 5.0, 1.0], Range::Image), Ok(vec![0, 255, 128]));
        assert_eq!(quantise("o", &[7.0, 7.0], Range::Image), Ok(vec![0, 0]));
        for wrong in [1.6, -0.6, 255.0] {
            let message = quantise("o", &[0.5, wrong], unit).expect_err("refused");
            assert!(message.contains("`o`") && message.contains("`range`"), "{message}");
        }
    }
}
