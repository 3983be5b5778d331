//! Converts resized rows to the elements of the tensor: colour, orientation, border, channel order, normalisation and
//! layout.

mod pack;
mod ycbcr;

use std::borrow::Cow;

use image::metadata::Orientation;

use crate::geometry::{Axis, Context, Plan, Target};
pub use pack::{Channels, Dtype, Elements, Layout, Pack};
use pack::{bf16_bits, f16_bits};
use ycbcr::{CHUNK, add_ycbcr, clamp_to_byte, ycbcr_to_rgb};

/// The channels of resized rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Colour {
    /// Luma only.
    Gray,
    /// Red, green and blue.
    Rgb,
    /// Luma and the two chroma channels of JFIF.
    YCbCr,
}

/// The tensor while it is filled. Rows arrive in file order; the position that each pixel is written to applies the
/// orientation.
pub(crate) struct Output<'a> {
    pack: Cow<'a, Pack>,
    elements: Elements,
    /// The axes of the image as stored in the file: the visible part and the resizing.
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    context: Context,
    /// The index of the first element of the first row, and the distances to the next pixel, row and channel.
    origin: isize,
    column_step: isize,
    row_step: isize,
    channel_step: usize,
    rows: usize,
    scratch: [Vec<f32>; 3],
}

impl<'a> Output<'a> {
    /// Creates the output for an image of this size as stored in the file, to be shown with `orientation`.
    pub(crate) fn new(
        target: &Target,
        pack: Cow<'a, Pack>,
        (width, height): (u32, u32),
        orientation: Orientation,
    ) -> Self {
        use Orientation::{FlipHorizontal, FlipVertical, Rotate90, Rotate180, Rotate270, Rotate270FlipH};
        let turned = is_turned(orientation);
        let Plan { x: across, y: down, context } = target.plan(if turned { (height, width) } else { (width, height) });
        // The plan applies to the image after the orientation is applied.
        let (mut x, mut y) = if turned { (down, across) } else { (across, down) };
        let x_mirrored = matches!(orientation, Rotate180 | Rotate270 | FlipHorizontal | Rotate270FlipH);
        let y_mirrored = matches!(orientation, Rotate180 | Rotate90 | FlipVertical | Rotate270FlipH);
        if x_mirrored {
            x = x.mirrored();
        }
        if y_mirrored {
            y = y.mirrored();
        }

        let channels = pack.channels();
        let (pixel, line, channel_step) = match pack.layout {
            Layout::Nchw => (1, pack.width as isize, (pack.width * pack.height) as usize),
            Layout::Nhwc => (channels as isize, channels as isize * pack.width as isize, 1),
        };
        let mut origin = across.at as isize * pixel + down.at as isize * line;
        let (mut column_step, mut row_step) = if turned { (line, pixel) } else { (pixel, line) };
        if x_mirrored {
            origin += (x.count as isize - 1) * column_step;
            column_step = -column_step;
        }
        if y_mirrored {
            origin += (y.count as isize - 1) * row_step;
            row_step = -row_step;
        }
        let bordered = across.count < pack.width || down.count < pack.height;
        let scratch = || vec![0.0; x.count as usize];
        Output {
            elements: pack.blank_tensor(bordered),
            pack,
            x,
            y,
            context,
            origin,
            column_step,
            row_step,
            channel_step,
            rows: 0,
            scratch: [scratch(), scratch(), scratch()],
        }
    }

    /// Writes the next row: the samples of each channel of `colour`, from 0 to 255.
    pub(crate) fn put(&mut self, colour: Colour, row: [&[f32]; 3]) {
        let [mut first, mut second, mut third] = std::mem::take(&mut self.scratch);
        let gray = self.pack.order == Channels::Gray;
        match (colour, gray) {
            (Colour::Gray, true) | (Colour::YCbCr, true) => self.put_channel(0, row[0]),
            (Colour::Gray, false) => (0..3).for_each(|channel| self.put_channel(channel, row[0])),
            (Colour::Rgb, true) => {
                for (((luma, r), g), b) in first.iter_mut().zip(row[0]).zip(row[1]).zip(row[2]) {
                    *luma = gray_of(*r, *g, *b);
                }
                self.put_channel(0, &first);
            }
            (Colour::Rgb, false) => self.put_pixels(row),
            (Colour::YCbCr, false) => {
                ycbcr_to_rgb([&mut first, &mut second, &mut third], row);
                self.put_pixels([&first, &second, &third]);
            }
        }
        self.rows += 1;
        self.scratch = [first, second, third];
    }

    /// Like [`Output::put`] with [`Colour::YCbCr`]. `clamping` is added to red, green and blue.
    pub(crate) fn put_with_clamping(&mut self, row: [&[f32]; 3], clamping: [&[f32]; 3]) {
        let mut colours = std::mem::take(&mut self.scratch);
        add_ycbcr(colours.each_mut().map(Vec::as_mut_slice), row, clamping);
        if self.pack.order == Channels::Gray {
            let [first, second, third] = &mut colours;
            for ((luma, g), b) in first.iter_mut().zip(second).zip(third) {
                *luma = gray_of(*luma, *g, *b);
            }
            self.put_channel(0, &colours[0]);
        } else {
            self.put_pixels(colours.each_ref().map(Vec::as_slice));
        }
        self.rows += 1;
        self.scratch = colours;
    }

    /// The next row is the first one again.
    pub(crate) fn restart(&mut self) {
        self.rows = 0;
    }

    fn put_pixels(&mut self, row: [&[f32]; 3]) {
        for (channel, values) in row.into_iter().enumerate() {
            self.put_channel(if self.pack.order == Channels::Bgr { 2 - channel } else { channel }, values);
        }
    }

    fn put_channel(&mut self, channel: usize, values: &[f32]) {
        let first = self.origin + self.rows as isize * self.row_step + (channel * self.channel_step) as isize;
        let step = self.column_step;
        let (mean, scale) = (self.pack.mean[channel], self.pack.scale[channel]);
        let normal = |value: f32| (value - mean) * scale;
        let inverted = |value: f32| (255.0 - value - mean) * scale;
        match (&mut self.elements, self.pack.invert) {
            (Elements::F32(to), false) => write_row(to, first, step, values, normal),
            (Elements::F32(to), true) => write_row(to, first, step, values, inverted),
            (Elements::F16(to), false) => write_row(to, first, step, values, |value| f16_bits(normal(value))),
            (Elements::F16(to), true) => write_row(to, first, step, values, |value| f16_bits(inverted(value))),
            (Elements::Bf16(to), false) => write_row(to, first, step, values, |value| bf16_bits(normal(value))),
            (Elements::Bf16(to), true) => write_row(to, first, step, values, |value| bf16_bits(inverted(value))),
            (Elements::U8(to), false) => write_row(to, first, step, values, |value| (value + 0.5) as u8),
            (Elements::U8(to), true) => write_row(to, first, step, values, |value| 255 - (value + 0.5) as u8),
        }
    }

    /// Returns the finished tensor and the context for postprocessing.
    pub(crate) fn finish(self) -> (Elements, Context) {
        (self.elements, self.context)
    }
}

/// True if the orientation exchanges width and height.
pub(crate) fn is_turned(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

/// Gray of red, green and blue with the weights of ITU-R 601-2, as in Pillow.
fn gray_of(r: f32, g: f32, b: f32) -> f32 {
    clamp_to_byte((19_595.0 * r + 38_470.0 * g + 7_471.0 * b) * (1.0 / 65_536.0))
}

/// Writes a row of elements, `step` places apart; a negative step writes backwards from `first`.
fn write_row<T>(to: &mut [T], first: isize, step: isize, values: &[f32], element: impl Fn(f32) -> T) {
    let first = first as usize;
    match step {
        1 => {
            let (to, to_rest) = to[first..][..values.len()].as_chunks_mut::<CHUNK>();
            let (values, rest) = values.as_chunks::<CHUNK>();
            for (to, values) in to.iter_mut().zip(values) {
                for at in 0..CHUNK {
                    to[at] = element(values[at]);
                }
            }
            to_rest.iter_mut().zip(rest).for_each(|(to, &value)| *to = element(value));
        }
        -1 => {
            // The same from the end.
            let (to_rest, to) = to[..=first][first + 1 - values.len()..].as_rchunks_mut::<CHUNK>();
            let (values, rest) = values.as_chunks::<CHUNK>();
            for (to, values) in to.iter_mut().rev().zip(values) {
                for at in 0..CHUNK {
                    to[CHUNK - 1 - at] = element(values[at]);
                }
            }
            to_rest.iter_mut().rev().zip(rest).for_each(|(to, &value)| *to = element(value));
        }
        2.. => to[first..].iter_mut().step_by(step as usize).zip(values).for_each(|(to, &value)| *to = element(value)),
        _ => {
            let before = to[..=first].iter_mut().rev().step_by(step.unsigned_abs());
            before.zip(values).for_each(|(to, &value)| *to = element(value));
        }
    }
}
