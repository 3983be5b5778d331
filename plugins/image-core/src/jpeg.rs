//! JPEG: streamed where it is sequential, progressive with its coefficients kept, and by `zune-jpeg` where it is neither, or
//! not sound.
//!
//! What is not read here, or found broken on the way, is begun again by `zune-jpeg`, which alone decides what becomes
//! of it.

mod band;
mod bits;
mod fallback;
mod headers;
mod huffman;
mod idct;
mod plane;
mod progressive;
mod scan;

use crate::lanes::Lanes;
use crate::limits::Rejected;
use crate::output::Output;
use crate::{Settings, orientation};

pub(crate) fn prepare<'a, L: Lanes>(body: &[u8], settings: &'a Settings) -> Result<Output<'a>, Rejected> {
    let limits = &settings.limits;
    if let Some(mut headers) = headers::read(body) {
        let (width, height) = (side(headers.width), side(headers.height));
        limits.check_size("JPEG", width, height)?;
        let mut output = settings.output((width, height), orientation(headers.exif));
        // Where an image is enlarged, its colours are clamped before and not after; and it is small.
        if u64::from(width) >= output.x.full && u64::from(height) >= output.y.full {
            let decoded = if headers.progressive {
                let bytes = progressive::bytes(&headers, settings, &output);
                limits.check_bytes("a progressive JPEG image", width, height, bytes)?;
                progressive::decode::<L>(body, &mut headers, settings, &mut output)
            } else {
                limits.check_bytes("a JPEG image", width, height, plane::bytes(&headers, &output))?;
                scan::decode::<L>(body, &headers, settings, &mut output)
            };
            if decoded.is_ok() {
                return Ok(output);
            }
        }
    }
    fallback::prepare::<L>(body, settings)
}

fn side(side: usize) -> u32 {
    u32::try_from(side).unwrap_or(u32::MAX)
}
