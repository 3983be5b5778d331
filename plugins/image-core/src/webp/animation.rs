//! The first frame of an animated WebP (WebP Container Specification, "Animation").

use super::container::{self, Stored};
use crate::limits::Rejected;

/// The first frame, and its place in the animation.
pub(super) struct Frame<'a> {
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) image: Stored<'a>,
}

/// Returns the first frame of an animation of this size. The headers of all frames are checked, as libwebp does.
///
/// # Errors
/// [`Rejected::Broken`] if the body has no frame, or a frame is incomplete or not inside of the animation.
pub(super) fn first_frame(body: &[u8], size: (u32, u32)) -> Result<Frame<'_>, Rejected> {
    let mut first = None;
    for (number, data) in (1..).zip(container::all(body, b"ANMF")) {
        let frame = read(data, size);
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

/// Reads a frame.
fn read(data: &[u8], size: (u32, u32)) -> Result<Frame<'_>, Rejected> {
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
    Ok(Frame { left, top, image: stored })
}
