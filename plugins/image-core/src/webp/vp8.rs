//! Decodes the data of a lossy image (RFC 6386) to rows of pixels, with the bits of libwebp. An image is refused if
//! libwebp refuses it, that is, if it needs more bytes than it has.

mod bits;
mod colour;
mod edges;
mod filter;
mod header;
mod macroblock;
mod modes;
mod planes;
mod predict;
mod residual;
mod tables;
mod tokens;
mod transform;
mod updates;

use super::container::truncated;
use crate::lanes::Lanes;
use crate::limits::Rejected;
use header::Frame;
use macroblock::Edge;
use planes::Planes;
use predict::STRIDE;
use residual::TooLarge;

/// Estimates the bytes that decoding an image of this width allocates.
pub(super) fn decoder_bytes(width: u64) -> u64 {
    planes::planes_bytes(width) + width + (16 << 10)
}

/// The luma and chroma of one row of pixels.
pub(super) struct Row<'a>([&'a [u8]; 3]);

impl Row<'_> {
    /// Writes the red, the green and the blue of all pixels.
    pub(super) fn write<L: Lanes>(&self, colours: [&mut [u8]; 3]) {
        colour::convert::<L>(self.0, colours);
    }
}

/// Decodes the data of a `VP8 ` chunk whose head was checked, and passes the rows to `put`.
///
/// # Errors
/// [`Rejected::Broken`] if libwebp would refuse them, or a coefficient is so large that decoders differ.
pub(super) fn decode<L: Lanes>(data: &[u8], mut put: impl FnMut(Row<'_>)) -> Result<(), Rejected> {
    let (width, height, mut frame) = Frame::read(data)?;
    let (across, down) = (width.div_ceil(16), height.div_ceil(16));
    let mut above = vec![Edge::default(); across];
    let mut planes = Planes::new(across);
    let mut block = [0; 26 * STRIDE];
    let mut chroma = [(); 2].map(|()| vec![0; width]);
    let partitions = frame.others.len();
    let mut y = 0;
    for row in 0..down {
        let mut left = Edge::default();
        let partition = row % partitions;
        for (column, top) in above.iter_mut().enumerate() {
            planes.set_neighbours(&mut block, column, row == 0);
            let neighbours = predict::Neighbours { above: row > 0, left: column > 0 };
            let strength = frame
                .macroblock::<L>(top, &mut left, partition, &mut block, neighbours)
                .map_err(|TooLarge| Rejected::broken("WebP", "it has numbers that are larger than in any picture"))?;
            planes.store::<L>(&block, column, row, strength);
        }
        if frame.first.has_ended() || frame.others[partition].has_ended() {
            return Err(truncated());
        }
        // The next row can change three rows of chroma, and a row of pixels needs the next row of chroma.
        let end = if row + 1 == down { height } else { 16 * row + 7 };
        while y < end {
            let far = if y % 2 == 1 { y / 2 + 1 } else { (y / 2).saturating_sub(1) };
            let far = far.min(height.div_ceil(2) - 1);
            for (plane, out) in chroma.iter_mut().enumerate() {
                colour::upsample::<L>(planes.chroma(plane, y / 2), planes.chroma(plane, far), out);
            }
            put(Row([planes.luma(y, width), &chroma[0], &chroma[1]]));
            y += 1;
        }
    }
    Ok(())
}
