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

/// Returns the first frame.
///
/// # Errors
/// [`Rejected::Broken`] if the body has no frame or the frame is incomplete.
pub(super) fn first_frame(body: &[u8]) -> Result<Frame, Rejected> {
    let frame = container::chunk(body, b"ANMF");
    let frame = frame.ok_or_else(|| Rejected::broken("WebP", "it is an animation without a frame"))?;
    let (head, data) =
        frame.split_first_chunk::<16>().ok_or_else(|| Rejected::broken("WebP", "its first frame is too short"))?;
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], 0]);
    // Offsets are stored in units of two pixels.
    let (left, top) = (2 * number(0), 2 * number(3));
    let (width, height) = (number(6) + 1, number(9) + 1);

    let chunk = |name: &[u8; 4]| container::find(data, name);
    let mut image = b"RIFF\0\0\0\0WEBP".to_vec();
    match (chunk(b"VP8L"), chunk(b"VP8 "), chunk(b"ALPH")) {
        (Some(lossless), ..) => append(&mut image, b"VP8L", lossless),
        (None, Some(lossy), None) => append(&mut image, b"VP8 ", lossy),
        (None, Some(lossy), Some(alpha)) => {
            // The flag of alpha, three reserved bytes, then the size minus 1.
            let mut extended = vec![0x10, 0, 0, 0];
            extended.extend_from_slice(&head[6..12]);
            append(&mut image, b"VP8X", &extended);
            append(&mut image, b"ALPH", alpha);
            append(&mut image, b"VP8 ", lossy);
        }
        _ => return Err(Rejected::broken("WebP", "its first frame has no image")),
    }
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
