//! The chunks of a WebP file (WebP Container Specification, "RIFF File Format"). They are read in place, so a broken
//! length allocates nothing.

/// Returns the data of the first chunk of the file with this name.
pub(super) fn chunk<'a>(body: &'a [u8], name: &[u8; 4]) -> Option<&'a [u8]> {
    // "RIFF", a length, "WEBP".
    find(body.get(12..)?, name)
}

/// Returns the data of the first chunk with this name.
pub(super) fn find<'a>(bytes: &'a [u8], name: &[u8; 4]) -> Option<&'a [u8]> {
    chunks(bytes).find(|(other, _)| *other == name).map(|(_, data)| data)
}

/// Iterates over chunks: a name, a length and the data, padded to a multiple of two bytes. Ends at an incomplete chunk.
fn chunks(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let (name, rest) = bytes.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let data = rest.get(..length)?;
        bytes = rest.get(length.checked_add(length % 2)?..).unwrap_or_default();
        Some((name, data))
    })
}
