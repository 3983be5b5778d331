//! Containers that hold several formats, and formats that are detected by bytes that are not the first.

/// Returns the name of the format, in the plural.
pub(super) fn name(body: &[u8]) -> Option<&'static str> {
    let at = |offset: usize, bytes: &[u8]| body.get(offset..).is_some_and(|rest| rest.starts_with(bytes));
    if let Some(name) = media(body) {
        return Some(name);
    }
    if body.starts_with(b"RIFF") || body.starts_with(b"RIFX") {
        return match body.get(8..12) {
            Some(b"AVI ") => Some("AVI videos"),
            Some(b"WAVE") => Some("WAV audio files"),
            _ => Some("RIFF files other than WebP images"),
        };
    }
    // A reader accepts a PDF that does not begin in the first byte (PDF 1.7, appendix H.3, note 13).
    if body[..body.len().min(1024)].windows(5).any(|bytes| bytes == b"%PDF-") {
        return Some("PDF documents");
    }
    if at(0, b"\x01\0\0\0") && at(40, b" EMF") {
        return Some("Windows metafiles (EMF)");
    }
    // Packets of 188 bytes, or of 192 bytes with a time before each.
    if at(0, b"G") && at(188, b"G") && (at(376, b"G") || body.len() <= 376)
        || at(4, b"G") && at(196, b"G") && at(388, b"G")
    {
        return Some("MPEG transport streams");
    }
    if at(257, b"ustar") {
        return Some("tar archives");
    }
    if at(128, b"DICM") {
        return Some("DICOM images");
    }
    // A TGA has no signature at its beginning.
    if body.ends_with(b"TRUEVISION-XFILE.\0") {
        return Some("TGA images");
    }
    None
}

/// HEIF, AVIF, MP4 and others: boxes with a length and a type (ISO/IEC 14496-12, 4.2). The first box lists the brands.
fn media(body: &[u8]) -> Option<&'static str> {
    match body.get(4..8)? {
        b"ftyp" => {}
        // QuickTime files from before brands existed.
        b"moov" | b"mdat" | b"wide" | b"pnot" => return Some("QuickTime videos"),
        b"free" | b"skip" if matches!(body, [0, 0, ..]) => return Some("QuickTime videos"),
        _ => return None,
    }
    let length = u32::from_be_bytes(*body.first_chunk()?) as usize;
    let brands = &body[8..body.len().clamp(8, length.clamp(8, 256))];
    // The first brand, a version, then the compatible brands.
    let is = |names: &[&[u8; 4]]| {
        let mut brands = brands.as_chunks::<4>().0.iter().enumerate().filter(|(index, _)| *index != 1);
        brands.any(|(_, brand)| names.contains(&brand))
    };
    let first = brands.first_chunk::<4>();
    Some(match first {
        Some(b"jp2 " | b"jpx " | b"jpm " | b"jph ") => "JPEG 2000 images",
        Some(b"jxl ") => "JPEG XL images",
        Some(b"crx ") => "Canon CR3 (raw camera) images",
        Some(b"M4A " | b"M4B ") => "MPEG-4 audio files",
        Some(b"qt  ") => "QuickTime videos",
        _ if is(&[b"avif", b"avis", b"avio"]) => "AVIF images",
        _ if is(&[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"]) => "HEIC images",
        _ if is(&[b"mif1", b"mif2", b"msf1", b"miaf"]) => "HEIF images",
        _ => "MP4 videos",
    })
}
