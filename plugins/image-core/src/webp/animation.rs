//! The first frame of an animated WebP as a separate WebP image (WebP Container Specification, "Animation").

use super::container;
use crate::limits::Rejected;

/// The first frame, and its place in the animation.
pub(super) struct Frame {
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) width: u32,
    pub(super) height: u32,
    /// A WebP image of this frame only.
    pub(super) image: Vec<u8>,
}

/// Returns the first frame of an animation of this size. The headers of all frames are checked, as libwebp does.
///
/// # Errors
/// [`Rejected::Broken`] if the body has no frame, or a frame is incomplete or not inside of the animation.
pub(super) fn first_frame(body: &[u8], size: (u32, u32)) -> Result<Frame, Rejected> {
    let mut first = None;
    for (number, data) in (1..).zip(container::all(body, b"ANMF")) {
        let frame = read(data, size, first.is_none());
        first = first.or(Some(frame.map_err(|error| in_frame(number, error))?));
    }
    first.ok_or_else(|| Rejected::broken("WebP", "it is an animation without a frame"))
}

fn in_frame(number: u32, error: Rejected) -> Rejected {
    match error {
        Rejected::Broken(text) => Rejected::Broken(format!("{text} (frame {number} of the animation)")),
        other => other,
    }
}

/// Reads a frame. Its image is only copied if it is `wanted`.
fn read(data: &[u8], size: (u32, u32), wanted: bool) -> Result<Frame, Rejected> {
    let (head, data) = data.split_first_chunk::<16>().ok_or_else(container::truncated)?;
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], 0]);
    // Offsets are stored in units of two pixels.
    let (left, top) = (2 * number(0), 2 * number(3));
    let (width, height) = (number(6) + 1, number(9) + 1);
    if !data.first_chunk().is_some_and(container::is_part) {
        return Err(Rejected::broken("WebP", "it does not begin with an image"));
    }
    let stored = container::stored_in(data)?;
    if stored.size()? != (width, height) || left + width > size.0 || top + height > size.1 {
        return Err(Rejected::broken("WebP", "it has a wrong size"));
    }
    if !wanted {
        return Ok(Frame { left, top, width, height, image: Vec::new() });
    }

    let mut image = b"RIFF\0\0\0\0WEBP".to_vec();
    if let Some(alpha) = stored.alpha {
        // The flag of alpha, three reserved bytes, then the size minus 1.
        let mut extended = vec![0x10, 0, 0, 0];
        extended.extend_from_slice(&head[6..12]);
        append(&mut image, b"VP8X", &extended);
        append(&mut image, b"ALPH", alpha);
    }
    append(&mut image, if stored.lossy { b"VP8 " } else { b"VP8L" }, stored.data);
    let length = u32::try_from(image.len() - 8).unwrap_or(u32::MAX);
    image[4..8].copy_from_slice(&length.to_le_bytes());
    Ok(Frame { left, top, width, height, image })
}

fn append(image: &mut Vec<u8>, name: &[u8; 4], data: &[u8]) {
    image.extend_from_slice(name);
    image.extend_from_slice(&u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes());
    image.extend_from_slice(data);
    if data.len() % 2 == 1 {
        image.push(0);
    }
}
