//! JPEG: streamed where it is baseline, and by `zune-jpeg` where it is not, or not sound.
//!
//! What the streaming decoder does not read, or finds broken on its way, is begun again by `zune-jpeg`, which alone
//! decides what becomes of it.

mod bits;
mod fallback;
mod headers;
mod huffman;
mod idct;
mod scan;

use crate::lanes::Lanes;
use crate::limits::Rejected;
use crate::output::Output;
use crate::{Settings, orientation};

pub(crate) fn prepare<'a, L: Lanes>(body: &[u8], settings: &'a Settings) -> Result<Output<'a>, Rejected> {
    let limits = &settings.limits;
    if let Some(headers) = headers::read(body) {
        let (width, height) = (side(headers.width), side(headers.height));
        limits.check_size("JPEG", width, height)?;
        let mut output = settings.output((width, height), orientation(headers.exif));
        // Where an image is enlarged, its colours are clamped before and not after; and it is small.
        if u64::from(width) >= output.x.full && u64::from(height) >= output.y.full {
            limits.check_bytes("a JPEG image", width, height, scan::bytes(&headers, &output))?;
            if scan::decode::<L>(body, &headers, settings, &mut output).is_ok() {
                return Ok(output);
            }
        }
    }
    fallback::prepare::<L>(body, settings)
}

fn side(side: usize) -> u32 {
    u32::try_from(side).unwrap_or(u32::MAX)
}
