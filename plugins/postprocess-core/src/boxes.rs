//! Checks boxes in the model's input, and converts them to pixels of the caller's image.

use crate::geometry::Geometry;

/// A box of a detector may reach out of the model's input, but not by this many times its size.
const MAX_SIZES: f64 = 8.0;
/// A model whose boxes are all within so many pixels returns fractions.
const FRACTIONS: f32 = 2.0;
/// In a smaller input, boxes of so few pixels can be right.
const LEAST_SIDE: f64 = 16.0;
/// Corners may be exchanged by this fraction of the model's input, because numbers are rounded. Such a box has no area.
const TOLERANCE: f64 = 0.002;

/// The unit of coordinates.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Pixels of the model's input.
    Pixels,
    /// Fractions of the width and the height of the model's input.
    Fractions,
}

/// Width and height of the model's input in this unit.
fn size(geometry: &Geometry, unit: Unit) -> (f64, f64) {
    match unit {
        Unit::Pixels => (geometry.input_width, geometry.input_height),
        Unit::Fractions => (1.0, 1.0),
    }
}

/// Checks that x1, y1, x2, y2 can be a box.
///
/// # Errors
/// If the corners are exchanged, or far outside of the model's input. The message says what may be configured wrongly.
pub fn check(geometry: &Geometry, corners: &[f32; 4], unit: Unit) -> Result<(), String> {
    let (width, height) = size(geometry, unit);
    let [x1, y1, x2, y2] = corners.map(f64::from);
    if x1 - x2 > TOLERANCE * width || y1 - y2 > TOLERANCE * height {
        return Err(format!(
            "the right or lower side of a box is before its left or upper side (x1, y1, x2, y2 = {corners:?}): the \
             coordinates of the model have another form than the configured `layout`"
        ));
    }
    let is_near = |value: f64, size: f64| value.abs() <= MAX_SIZES * size;
    if is_near(x1, width) && is_near(x2, width) && is_near(y1, height) && is_near(y2, height) {
        return Ok(());
    }
    let (unit, other) = match unit {
        Unit::Pixels => ("pixels", "fractions"),
        Unit::Fractions => ("fractions", "pixels"),
    };
    Err(format!(
        "a box is far outside of the model's input (x1, y1, x2, y2 = {corners:?} in {unit}): the model returns {other} \
         (set the configuration key `coordinates`), or has another form than the configured `layout`"
    ))
}

/// Checks that numbers can be coordinates in this unit: those of all boxes that the model returns, also of boxes that would
/// not be reported, because some of these are elsewhere in the input.
///
/// # Errors
/// If all of them are fractions, and the unit is pixels. The message says what to configure.
pub fn check_unit(geometry: &Geometry, unit: Unit, numbers: impl IntoIterator<Item = f32>) -> Result<(), String> {
    if unit == Unit::Fractions || geometry.input_width.min(geometry.input_height) < LEAST_SIDE {
        return Ok(());
    }
    let mut numbers = numbers.into_iter().peekable();
    if numbers.peek().is_none() || numbers.any(|number| number.abs() > FRACTIONS) {
        return Ok(());
    }
    Err(format!(
        "all boxes of the model are within {FRACTIONS} pixels of the left upper corner of its input of {} x {} pixels: the \
         model returns fractions (set the configuration key `coordinates` to `fractions`)",
        geometry.input_width, geometry.input_height
    ))
}

/// Converts a box from the model's input to pixels of the original image, clamped to the image. Returns `None` if
/// the box lies entirely outside of it, for example on the border that `letterbox` adds.
pub fn to_original(geometry: &Geometry, [x1, y1, x2, y2]: [f32; 4], unit: Unit) -> Option<[f32; 4]> {
    let ([x1, y1], [x2, y2]) = (point(geometry, [x1, y1], unit), point(geometry, [x2, y2], unit));
    (x1 < x2 && y1 < y2).then_some([x1, y1, x2, y2])
}

/// Converts a point from the model's input to pixels of the original image, clamped to the image.
pub fn point(geometry: &Geometry, [x, y]: [f32; 2], unit: Unit) -> [f32; 2] {
    let (width, height) = size(geometry, unit);
    let x = geometry.x(f64::from(x) / width * geometry.input_width);
    let y = geometry.y(f64::from(y) / height * geometry.input_height);
    [x.clamp(0.0, f64::from(geometry.width)) as f32, y.clamp(0.0, f64::from(geometry.height)) as f32]
}

/// Cuts a box off at the edges of the image that the model sees, in pixels of the model's input.
pub fn clip(geometry: &Geometry, [x1, y1, x2, y2]: [f32; 4]) -> [f32; 4] {
    let (width, height) = (f64::from(geometry.width), f64::from(geometry.height));
    let (left, right) = (geometry.input_x(0.0).max(0.0), geometry.input_x(width).min(geometry.input_width));
    let (top, bottom) = (geometry.input_y(0.0).max(0.0), geometry.input_y(height).min(geometry.input_height));
    // A context whose image is outside of the input has no such edges.
    let within = |value: f32, first: f64, last: f64| value.min(last as f32).max(first as f32);
    [within(x1, left, right), within(y1, top, bottom), within(x2, left, right), within(y2, top, bottom)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::unscaled;

    fn geometry(side: u32) -> Geometry {
        unscaled(side, side)
    }

    #[test]
    fn fractions_are_not_pixels() {
        let fractions = [0.5, 0.5, 0.2, 0.4, -0.1, 1.2, 0.3, 1.9];
        let message = check_unit(&geometry(640), Unit::Pixels, fractions).expect_err("fractions");
        assert!(message.contains("`coordinates` to `fractions`"), "{message}");
        assert_eq!(check_unit(&geometry(640), Unit::Fractions, fractions), Ok(()));
    }

    #[test]
    fn one_number_beyond_the_fractions_is_enough_for_pixels() {
        assert_eq!(check_unit(&geometry(640), Unit::Pixels, [0.5, 0.5, 0.2, 3.0]), Ok(()));
        assert_eq!(check_unit(&geometry(640), Unit::Pixels, [0.5, -3.0, 0.2, 0.4]), Ok(()));
    }

    #[test]
    fn no_boxes_and_small_inputs_have_any_unit() {
        assert_eq!(check_unit(&geometry(640), Unit::Pixels, []), Ok(()));
        assert_eq!(check_unit(&geometry(8), Unit::Pixels, [0.5, 0.5, 1.0, 1.0]), Ok(()));
    }
}
