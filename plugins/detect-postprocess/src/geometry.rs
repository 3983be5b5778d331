//! Checks boxes in the model's input, and converts them to pixels of the caller's image.

use postprocess_core::geometry::Geometry;

use crate::layout::Unit;

/// A box of a detector may reach out of the model's input, but not by this many times its size.
const MAX_SIZES: f64 = 8.0;
/// Corners may be exchanged by this fraction of the model's input, because numbers are rounded. Such a box has no area.
const TOLERANCE: f64 = 0.002;

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

/// Converts a box from the model's input to pixels of the original image, clamped to the image. Returns `None` if
/// the box lies entirely outside of it, for example on the border that `letterbox` adds.
pub fn to_original(geometry: &Geometry, [x1, y1, x2, y2]: [f32; 4], unit: Unit) -> Option<[f32; 4]> {
    let (width, height) = size(geometry, unit);
    let x = |value: f32| {
        let pixel = geometry.x(f64::from(value) / width * geometry.input_width);
        pixel.clamp(0.0, f64::from(geometry.width)) as f32
    };
    let y = |value: f32| {
        let pixel = geometry.y(f64::from(value) / height * geometry.input_height);
        pixel.clamp(0.0, f64::from(geometry.height)) as f32
    };
    let corners = [x(x1), y(y1), x(x2), y(y2)];
    (corners[0] < corners[2] && corners[1] < corners[3]).then_some(corners)
}
