//! The samples of all components next to each other, without a conversion of colours: for JPEG images inside of TIFF,
//! whose colours the TIFF declares.

use super::fault::unsupported;
use super::headers::{self, Headers};
use super::plane::{Plane, whole_planes};
use super::sink::{DECODER_BYTES, Sink};
use super::{first_scan, is_streamed, kind, scan, stored};
use crate::lanes::Lanes;
use crate::limits::{Limits, Rejected};

/// Decodes an image to its samples.
///
/// # Errors
/// If it is broken, has subsampled components (libtiff refuses these too), or needs more memory than the limits allow.
pub(crate) fn samples<L: Lanes>(body: &[u8], limits: &Limits) -> Result<Vec<u8>, Rejected> {
    let mut headers = headers::read(body)?;
    if headers.components.iter().any(|it| (it.across, it.down) != (1, 1)) {
        let count = headers.components.len();
        return Err(unsupported(format!("JPEG with {count} components that are not converted, and subsampling")));
    }
    let (width, height, count) = (headers.width, headers.height, headers.components.len());
    let (scan, data) = first_scan(body, &mut headers)?;
    let is_streamed = is_streamed(&headers, &scan);
    let coefficients = if is_streamed { 0 } else { stored::coefficients_bytes(&headers, std::iter::repeat(8)) };
    let bytes = (width * height * count + (width + 32) * 8 * count) as u64 + coefficients + DECODER_BYTES;
    let kind = if is_streamed { "a JPEG image" } else { kind(&headers) };
    limits.check_bytes(kind, width as u32, height as u32, bytes)?;

    let planes = whole_planes::<L>(&headers);
    let mut pixels = vec![0; width * height * count];
    let sink = Sink::Samples(Samples::new(&headers, &mut pixels));
    if is_streamed {
        let rest = scan::decode(&body[data..], &headers, &scan, planes, sink)?;
        headers.end(rest)?;
    } else {
        stored::decode(body, &mut headers, planes, sink)?;
    }
    Ok(pixels)
}

/// Copies the rows of all components, none of which is subsampled.
pub(super) struct Samples<'o> {
    /// The pixels that are still to be written, in rows.
    rest: std::slice::ChunksExactMut<'o, u8>,
    components: usize,
}

impl<'o> Samples<'o> {
    fn new(headers: &Headers, pixels: &'o mut [u8]) -> Self {
        let components = headers.components.len();
        Samples { rest: pixels.chunks_exact_mut(headers.width * components), components }
    }

    /// Copies the strips of all components, which have eight rows each, or fewer at the end.
    pub(super) fn take_strips<'p, L: 'p>(&mut self, planes: impl Iterator<Item = &'p mut Plane<L>>) {
        let mut rows: [Option<&mut [u8]>; 8] = std::array::from_fn(|_| self.rest.next());
        for (place, plane) in planes.enumerate() {
            for (row, strip) in rows.iter_mut().flatten().zip(plane.strip.chunks_exact(plane.stride)) {
                for (pixel, sample) in row.chunks_exact_mut(self.components).zip(strip) {
                    pixel[place] = *sample;
                }
            }
        }
    }
}
