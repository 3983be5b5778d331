//! Formats that begin with fixed bytes.

/// Names in the plural, with the bytes at the beginning.
const SIGNATURES: &[(&str, &[u8])] = &[
    ("JPEG XL images", b"\xFF\x0A"),
    ("JPEG XL images", b"\0\0\0\x0CJXL \r\n\x87\n"),
    ("JPEG 2000 images", b"\xFF\x4F\xFF\x51"),
    ("JPEG 2000 images", b"\0\0\0\x0CjP  \r\n\x87\n"),
    ("JPEG XR images", b"II\xBC"),
    ("Photoshop (PSD) images", b"8BPS"),
    ("GIMP (XCF) images", b"gimp xcf"),
    ("icons (ICNS)", b"icns"),
    ("QOI images", b"qoif"),
    ("DDS images", b"DDS "),
    ("OpenEXR images", b"\x76\x2F\x31\x01"),
    ("Radiance HDR images", b"#?RADIANCE"),
    ("Radiance HDR images", b"#?RGBE"),
    ("farbfeld images", b"farbfeld"),
    ("FLIF images", b"FLIF"),
    ("BPG images", b"BPG\xFB"),
    ("JBIG2 images", b"\x97JB2\r\n\x1A\n"),
    ("MNG images", b"\x8AMNG\r\n\x1A\n"),
    ("JNG images", b"\x8BJNG\r\n\x1A\n"),
    ("SGI images", b"\x01\xDA"),
    ("FITS images", b"SIMPLE  ="),
    ("DjVu documents", b"AT&TFORM"),
    ("Windows metafiles (WMF)", b"\xD7\xCD\xC6\x9A"),
    ("Fujifilm RAF (raw camera) images", b"FUJIFILMCCD-RAW"),
    ("Panasonic RW2 (raw camera) images", b"IIU\0"),
    ("Olympus ORF (raw camera) images", b"IIRO"),
    ("Olympus ORF (raw camera) images", b"IIRS"),
    ("Olympus ORF (raw camera) images", b"MMOR"),
    ("Sigma X3F (raw camera) images", b"FOVb"),
    ("Minolta MRW (raw camera) images", b"\0MRM"),
    ("Canon CRW (raw camera) images", b"II\x1A\0\0\0HEAPCCDR"),
    ("PostScript documents", b"%!PS"),
    ("PostScript documents", b"\xC5\xD0\xD3\xC6"),
    ("Microsoft Office (OLE) documents", b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"),
    ("RTF documents", b"{\\rtf"),
    ("WebM or Matroska videos", b"\x1A\x45\xDF\xA3"),
    ("MPEG videos", b"\0\0\x01\xBA"),
    ("MPEG videos", b"\0\0\x01\xB3"),
    ("Flash videos", b"FLV\x01"),
    ("Windows Media (ASF) files", b"\x30\x26\xB2\x75\x8E\x66\xCF\x11"),
    ("Ogg files", b"OggS"),
    ("FLAC audio files", b"fLaC"),
    ("MP3 audio files", b"ID3"),
    ("gzip files", b"\x1F\x8B"),
    ("ZIP files", b"PK\x03\x04"),
    ("ZIP files", b"PK\x05\x06"),
    ("bzip2 files", b"BZh"),
    ("xz files", b"\xFD7zXZ\0"),
    ("Zstandard files", b"\x28\xB5\x2F\xFD"),
    ("7-Zip files", b"7z\xBC\xAF\x27\x1C"),
    ("RAR files", b"Rar!\x1A\x07"),
    ("NumPy arrays", b"\x93NUMPY"),
    ("HDF5 files", b"\x89HDF\r\n\x1A\n"),
];

/// Returns the name of the format, in the plural.
pub(super) fn name(body: &[u8]) -> Option<&'static str> {
    let found = SIGNATURES.iter().find(|(_, signature)| body.starts_with(signature));
    found.map(|(name, _)| *name).or(match body {
        [b'P', b'1'..=b'7', b' ' | b'\t' | b'\r' | b'\n' | b'#', ..] => Some("PNM images (PBM, PGM, PPM, PAM)"),
        [b'P', b'F' | b'f', b'\r' | b'\n', ..] => Some("PFM images"),
        [0x0A, 0 | 2..=5, 1, ..] => Some("PCX images"),
        // The next two bytes are the number of pictures.
        [0, 0, 1, 0, low, high, ..] if (*low, *high) != (0, 0) => Some("icons (ICO)"),
        [0, 0, 2, 0, low, high, ..] if (*low, *high) != (0, 0) => Some("cursors (CUR)"),
        body if is_tga(body) => Some("TGA images"),
        _ => None,
    })
}

/// TGA has no signature at its beginning. These are the fields whose values are limited: whether there is a colour map,
/// the type, the colour map, the size, and the bits of a pixel.
fn is_tga(body: &[u8]) -> bool {
    let Some([_, map, kind, start @ .., _, _, _, _, w0, w1, h0, h1, bits, _]) = body.first_chunk::<18>() else {
        return false;
    };
    let kinds: &[u8] = if *map == 1 { &[1, 2, 9, 10] } else { &[2, 3, 10, 11] };
    *map < 2
        && kinds.contains(kind)
        && (*map == 1 || start.iter().all(|byte| *byte == 0))
        && (*w0, *w1) != (0, 0)
        && (*h0, *h1) != (0, 0)
        && matches!(bits, 8 | 15 | 16 | 24 | 32)
}
