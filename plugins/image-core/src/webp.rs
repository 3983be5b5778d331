//! WebP: the rows of a lossy image are resized as they are decoded. A lossless image is decoded as a whole.

mod animation;
mod container;
mod vp8;
mod vp8l;

use std::convert::Infallible;

use crate::Settings;
use crate::lanes::Lanes;
use crate::limits::Rejected;
use crate::output::{Colour, Output};
use crate::rows::{Order, Rows, rows_bytes};

/// Bytes that the decoder holds in addition to pixels: Huffman codes and probabilities.
const DECODER_BYTES: u64 = 512 << 10;

pub(crate) fn prepare<'a, L: Lanes>(body: &[u8], settings: &'a Settings) -> Result<Output<'a>, Rejected> {
    let limits = &settings.limits;
    let body = container::whole(body)?;
    let ((width, height), animated) = container::canvas(body)?;
    limits.check_size("WebP", width, height)?;
    let mut output = settings.output((width, height), container::read_orientation(body));

    // The first frame of an animation is not blended with the background, which would change the colours of transparent
    // pixels.
    let (left, top, stored) = if animated {
        let frame = animation::first_frame(body, (width, height))?;
        (frame.left, frame.top, frame.image)
    } else {
        (0, 0, container::stored(body)?)
    };
    let (across, down) = stored.size()?;
    if !animated && (across, down) != (width, height) {
        return Err(Rejected::broken("WebP", "its image has another size than the file"));
    }

    let pixels = u64::from(across) * u64::from(down);
    let compressed_alpha = stored.alpha.is_some_and(|alpha| alpha.first().is_some_and(|head| head & 3 == 1));
    // What transforms and codes need is added when it is known.
    let decoder = if stored.lossy { vp8::decoder_bytes(across.into()) } else { 0 };
    let whole = if !stored.lossy || compressed_alpha { 4 * pixels } else { 0 };
    let needed = whole + decoder + DECODER_BYTES + rows_bytes(width, height, output.y);
    let left_bytes = limits.check_bytes("a WebP image", width, height, needed)?;
    let mut memory = vp8l::Memory::new(*limits, left_bytes);

    let order = if stored.lossy { Order::Channels } else { Order::Pixels };
    let place = Place { left: left as usize, across: across as usize, width: width as usize };
    let rows = Rows::<L>::with_order(&mut output, width, height, Colour::Rgb, order);
    let mut rows = Framed { rows, beside: across < width };
    rows.blank(top);
    if stored.lossy {
        if let Some(alpha) = stored.alpha {
            vp8l::check_alpha(alpha, (across, down), &mut memory)?;
        }
        vp8::decode::<L>(stored.data, |pixels| rows.push(|row| pixels.write::<L>(place.channels(row))))?;
    } else {
        let image = vp8l::decode(stored.data, (across, down), &mut memory)?;
        for pixels in image.chunks_exact(across as usize) {
            rows.push(|row| {
                for (pixel, out) in pixels.iter().zip(row[3 * place.left..].as_chunks_mut().0) {
                    // Alpha, red, green and blue, beginning at the highest bits.
                    let [blue, green, red, _] = pixel.to_le_bytes();
                    *out = [red, green, blue];
                }
            });
        }
    }
    rows.blank(height - top - down);
    rows.rows.finish();
    Ok(output)
}

/// The columns of a frame in an animation.
#[derive(Clone, Copy)]
struct Place {
    left: usize,
    across: usize,
    width: usize,
}

impl Place {
    /// The pixels of the frame in each channel of a row.
    fn channels(self, row: &mut [u8]) -> [&mut [u8]; 3] {
        let (red, rest) = row.split_at_mut(self.width);
        let (green, blue) = rest.split_at_mut(self.width);
        [red, green, blue].map(|channel| &mut channel[self.left..][..self.across])
    }
}

/// The rows of an animation. Pixels beside its frame are transparent black.
struct Framed<'o, 'a, L> {
    rows: Rows<'o, 'a, L>,
    /// True if there are pixels on the left or on the right.
    beside: bool,
}

impl<L: Lanes> Framed<'_, '_, L> {
    fn push(&mut self, write: impl FnOnce(&mut [u8])) {
        let Ok(()) = self.rows.push(|row| {
            if self.beside {
                row.fill(0);
            }
            write(row);
            Ok::<(), Infallible>(())
        });
    }

    fn blank(&mut self, rows: u32) {
        for _ in 0..rows {
            self.push(|row| row.fill(0));
        }
    }
}
