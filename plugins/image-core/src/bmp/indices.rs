//! The colours of a BMP with a palette. A file whose pixels have colours that are not in its palette is refused: readers show
//! them as black or as another colour.

use crate::limits::Rejected;

fn long(body: &[u8], at: usize) -> u32 {
    body.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |it| u32::from_le_bytes(*it))
}

fn bits(body: &[u8]) -> u32 {
    let at = if long(body, 14) == 12 { 24 } else { 28 };
    body.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |it| u32::from(u16::from_le_bytes(*it)))
}

/// The number of colours in the palette, which may be less than the bits of a pixel allow.
pub(super) fn colours(body: &[u8]) -> usize {
    let header = long(body, 14);
    let most = 1_usize << bits(body).min(8);
    let stored = match (header, long(body, 46)) {
        // The header of OS/2 1.x does not say it. The palette is what lies between the header and the pixels.
        (12, _) => long(body, 10).saturating_sub(14 + header) / 3,
        (_, 0) => return most,
        (_, used) => used,
    };
    most.min(stored as usize)
}

/// Checks the pixels of an image that is not compressed.
pub(super) fn check(body: &[u8], width: u32, height: u32) -> Result<(), Rejected> {
    let (bits, colours) = (bits(body), colours(body));
    if !matches!(bits, 1 | 2 | 4 | 8) || colours == 1 << bits {
        return Ok(());
    }
    let pixels = body.get(long(body, 10) as usize..).unwrap_or_default();
    // A row is padded to four bytes. The decoder reports missing data.
    let row_bytes = (width as usize * bits as usize).div_ceil(32) * 4;
    let mut rows = pixels.chunks(row_bytes).take(height as usize);
    rows.try_for_each(|row| check_row(row, width as usize, bits, colours))
}

/// Checks the first pixels of a row. The first pixel of a byte is in its highest bits.
pub(super) fn check_row(row: &[u8], pixels: usize, bits: u32, colours: usize) -> Result<(), Rejected> {
    let per_byte = 8 / bits as usize;
    for pixel in 0..pixels.min(row.len() * per_byte) {
        let shift = 8 - bits as usize * (pixel % per_byte + 1);
        let index = usize::from(row[pixel / per_byte] >> shift) & ((1 << bits) - 1);
        if index >= colours {
            let text = format!("colour {index} is not in its palette of {colours}");
            return Err(Rejected::broken("BMP", text));
        }
    }
    Ok(())
}
