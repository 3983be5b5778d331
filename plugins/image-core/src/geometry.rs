//! Maps the image to the model's input, and describes the inverse mapping for postprocessing.

use serde::Serialize;

/// How the image is fitted into the input.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Width and height are resized independently.
    Stretch,
    /// The whole image, centred, with a border.
    Letterbox,
    /// The centre of the image. Sizes and the start of the centre are rounded like in torchvision.
    Crop,
    /// The centre of the image. Sizes are rounded to the nearest pixel, the start of the centre is rounded down.
    CropNearest,
    /// The image in its own pixels. The size of the target has no effect.
    Whole,
}

/// The size of the model's input, and how images are fitted into it.
#[derive(Clone, Copy)]
pub struct Target {
    /// The width in pixels.
    pub width: u32,
    /// The height in pixels.
    pub height: u32,
    /// How the image is fitted into the input.
    pub mode: Mode,
    /// For both crops: the length in pixels to which the shorter side is resized.
    pub shorter: Option<u32>,
}

/// One direction. The image's side is resized to `full` pixels. The `count` pixels from `start` on are visible; they
/// are placed in the input from `at` on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    pub(crate) full: u64,
    pub(crate) start: u64,
    pub(crate) count: u32,
    pub(crate) at: u32,
}

/// Both directions of the image after the orientation is applied, and the context.
pub(crate) struct Plan {
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) context: Context,
}

/// The context for postprocessing, sent as JSON. A point of the input is at `(input - offset) / scale` in the original.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Context {
    /// The width of the original in pixels, after the orientation is applied.
    pub width: u32,
    /// The height of the original in pixels, after the orientation is applied.
    pub height: u32,
    /// The name of the mode, as in the configuration.
    pub resize: &'static str,
    /// The width of the model's input in pixels.
    pub input_width: u32,
    /// The height of the model's input in pixels.
    pub input_height: u32,
    /// The number of input pixels per pixel of the original, horizontally.
    pub scale_x: f64,
    /// The number of input pixels per pixel of the original, vertically.
    pub scale_y: f64,
    /// The position of the original's left edge in the input, in pixels.
    pub offset_x: f64,
    /// The position of the original's upper edge in the input, in pixels.
    pub offset_y: f64,
}

impl Target {
    /// Computes the plan for an image of this width and height.
    pub(crate) fn plan(&self, (width, height): (u32, u32)) -> Plan {
        let (fit_x, fit_y) = (ratio(self.width, width), ratio(self.height, height));
        let (x, y, resize) = match self.mode {
            // `Settings::output` has made the size of the target that of the image.
            Mode::Stretch | Mode::Whole => (
                Axis::crop(u64::from(self.width), self.width),
                Axis::crop(u64::from(self.height), self.height),
                "stretch",
            ),
            Mode::Letterbox => {
                let scale = fit_x.min(fit_y);
                (
                    Axis::letterbox(scaled_to_even(width, scale), self.width),
                    Axis::letterbox(scaled_to_even(height, scale), self.height),
                    "letterbox",
                )
            }
            Mode::Crop => {
                let (to, from) = self.covering((width, height));
                (
                    Axis::torchvision(truncated(width, to, from), self.width),
                    Axis::torchvision(truncated(height, to, from), self.height),
                    "crop",
                )
            }
            Mode::CropNearest => {
                let (to, from) = self.covering((width, height));
                let scale = ratio(to, from);
                (Axis::crop(scaled(width, scale), self.width), Axis::crop(scaled(height, scale), self.height), "crop")
            }
        };
        let context = Context {
            width,
            height,
            resize,
            input_width: self.width,
            input_height: self.height,
            scale_x: x.full as f64 / f64::from(width),
            scale_y: y.full as f64 / f64::from(height),
            offset_x: f64::from(x.at) - x.start as f64,
            offset_y: f64::from(y.at) - y.start as f64,
        };
        Plan { x, y, context }
    }

    /// For a crop: the length to which a side of the image is resized, and the length of this side.
    fn covering(&self, (width, height): (u32, u32)) -> (u32, u32) {
        // Products instead of quotients: two quotients that should be equal may be rounded differently.
        let wide = u64::from(self.width) * u64::from(height) >= u64::from(self.height) * u64::from(width);
        match self.shorter {
            Some(shorter) => (shorter, width.min(height)),
            None if wide => (self.width, width),
            None => (self.height, height),
        }
    }
}

impl Axis {
    /// The centre of `full` pixels fills the input. Because of rounding, `full` may be one pixel too small.
    fn crop(full: u64, input: u32) -> Axis {
        let full = full.max(u64::from(input));
        Axis { full, start: (full - u64::from(input)) / 2, count: input, at: 0 }
    }

    /// Like [`Axis::crop`], but the start is rounded to the nearest pixel, and a half to the nearest even pixel, as
    /// `center_crop` of torchvision does (`int(round((image_height - crop_height) / 2.0))` in Python).
    fn torchvision(full: u64, input: u32) -> Axis {
        let axis = Axis::crop(full, input);
        let outside = axis.full - u64::from(input);
        Axis { start: axis.start + u64::from(outside % 4 == 3), ..axis }
    }

    /// `full` pixels in the centre of the input. Because of rounding, `full` may be one pixel too large.
    fn letterbox(full: u64, input: u32) -> Axis {
        let count = u32::try_from(full).unwrap_or(input).min(input);
        Axis { full: u64::from(count), start: 0, count, at: (input - count) / 2 }
    }

    /// The same pixels, counted from the opposite end of the side.
    pub(crate) fn mirrored(self) -> Axis {
        Axis { start: self.full - self.start - u64::from(self.count), ..self }
    }
}

fn ratio(to: u32, from: u32) -> f64 {
    f64::from(to) / f64::from(from)
}

fn scaled(side: u32, scale: f64) -> u64 {
    ((f64::from(side) * scale).round() as u64).max(1)
}

/// The same with a half rounded to the even number, as `LetterBox` of Ultralytics does (`round` of Python).
fn scaled_to_even(side: u32, scale: f64) -> u64 {
    ((f64::from(side) * scale).round_ties_even() as u64).max(1)
}

/// The side of an image of which the side `from` becomes `to`, truncated, as torchvision's `Resize` does
/// (`int(requested_new_short * long / short)` in Python).
fn truncated(side: u32, to: u32, from: u32) -> u64 {
    u64::from(side) * u64::from(to) / u64::from(from.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of the image in a letterbox of 640 x 640, and the first of them.
    fn letterboxed(width: u32, height: u32) -> (u32, u32) {
        let target = Target { width: 640, height: 640, mode: Mode::Letterbox, shorter: None };
        let y = target.plan((width, height)).y;
        (y.count, y.at)
    }

    #[test]
    fn a_letterbox_rounds_a_half_to_the_even_number() {
        // `LetterBox` of Ultralytics: `round(height * r)` and `round(dh - 0.1)`.
        assert_eq!(letterboxed(1280, 853), (426, 107));
        assert_eq!(letterboxed(1280, 855), (428, 106));
        assert_eq!(letterboxed(1280, 720), (360, 140));
        // Not a half.
        assert_eq!(letterboxed(1000, 667), (427, 106));
    }
}
