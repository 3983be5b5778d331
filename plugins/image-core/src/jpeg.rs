//! JPEG: sequential images are streamed, progressive images are decoded with their coefficients kept, and all other or
//! broken images are decoded by `zune-jpeg`.
//!
//! If this decoder does not support an image, or finds it broken while decoding, `zune-jpeg` decodes the image from the
//! beginning. Only `zune-jpeg` decides whether the image is refused.

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
        // Enlarged images go to the fallback, because their colours must be clamped before resizing, but this decoder
        // clamps after resizing. Such images are small.
        if u64::from(width) >= output.x.full && u64::from(height) >= output.y.full {
            let decoded = if headers.progressive {
                let bytes = progressive::estimated_bytes(&headers, settings, &output);
                limits.check_bytes("a progressive JPEG image", width, height, bytes)?;
                progressive::decode::<L>(body, &mut headers, settings, &mut output)
            } else {
                limits.check_bytes("a JPEG image", width, height, plane::estimated_bytes(&headers, &output))?;
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
