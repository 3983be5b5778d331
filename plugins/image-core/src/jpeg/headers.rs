//! The headers of the supported images: 8 bits, Huffman codes, one or three components; either sequential with all
//! components interleaved in one scan, or progressive.

use super::huffman::Code;

/// The headers before the coded data.
pub(super) struct Headers<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) components: Vec<Component>,
    /// The largest horizontal and vertical sampling factor.
    pub(super) widest: usize,
    pub(super) tallest: usize,
    /// Quantisation tables in the coefficient order of blocks, see [`TRANSPOSED`].
    pub(super) quantisers: [Option<[i16; 64]>; 4],
    /// Four codes of the DC differences, then four codes of the AC coefficients.
    pub(super) codes: [Option<Code>; 8],
    /// The number of MCUs between restart markers; 0 if there are no markers.
    pub(super) restart: usize,
    /// True if the components are red, green and blue.
    pub(super) rgb: bool,
    /// The EXIF block; the last one if there are several.
    pub(super) exif: Option<&'a [u8]>,
    /// True if the image is progressive: its coefficients are spread over several scans.
    pub(super) progressive: bool,
    /// The offset of the coded data in the body; in a progressive image, the offset of the marker of the first scan.
    pub(super) data: usize,
}

/// A component: its sampling factors and the numbers of its tables.
pub(super) struct Component {
    pub(super) id: u8,
    /// The horizontal and the vertical sampling factor: the blocks of an MCU in each direction.
    pub(super) across: usize,
    pub(super) down: usize,
    pub(super) quantiser: usize,
    pub(super) dc: usize,
    pub(super) ac: usize,
}

/// Maps zigzag order to the position in a block, which is stored column by column. The inverse transform works on
/// vectors of one column, so it transposes once instead of twice. In a broken image, indices beyond the block map to
/// position 64.
pub(super) const TRANSPOSED: [u8; 128] = {
    const ZIGZAG: [u8; 64] = [
        0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14,
        21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60,
        61, 54, 47, 55, 62, 63,
    ];
    let mut places = [64; 128];
    let mut index = 0;
    while index < 64 {
        places[index] = ZIGZAG[index] >> 3 | (ZIGZAG[index] & 7) << 3;
        index += 1;
    }
    places
};

/// The prefix of an XMP extension (Adobe, "XMP Specification Part 3", 1.1.3.1).
const XMP_EXTENSION: &[u8] = b"http://ns.adobe.com/xmp/extension/\0";

/// Returns the next marker at or after `at` and its segment. Moves `at` to the byte after the segment.
pub(super) fn next_segment<'a>(body: &'a [u8], at: &mut usize) -> Option<(u8, &'a [u8])> {
    loop {
        // Skip fill bytes and other bytes that are not part of a marker.
        while *body.get(*at)? != 0xFF || matches!(body.get(*at + 1)?, 0x00 | 0xFF) {
            *at += 1;
        }
        let marker = body[*at + 1];
        *at += 2;
        match marker {
            0x01 | 0xD0..=0xD8 => {}
            0xD9 => return Some((marker, &[])),
            _ => {
                let length = usize::from(u16::from_be_bytes(*body.get(*at..)?.first_chunk()?));
                let segment = body.get(*at + 2..*at + length)?;
                *at += length;
                return Some((marker, segment));
            }
        }
    }
}

/// Reads the headers. Returns `None` if the image is unusual in any way; then `zune-jpeg` decodes or refuses it,
/// whatever its size.
pub(super) fn read(body: &[u8]) -> Option<Headers<'_>> {
    let mut headers = Headers {
        width: 0,
        height: 0,
        components: Vec::new(),
        widest: 1,
        tallest: 1,
        quantisers: [None; 4],
        codes: Default::default(),
        restart: 0,
        rgb: false,
        exif: None,
        progressive: false,
        data: 0,
    };
    let (mut jfif, mut transform) = (false, None);
    let mut at = 2;
    loop {
        let (marker, segment) = next_segment(body, &mut at)?;
        match marker {
            0xC0 | 0xC1 => headers.frame(segment)?,
            0xC2 => {
                headers.frame(segment)?;
                headers.progressive = true;
            }
            0xC4 | 0xDD => headers.tables(marker, segment)?,
            0xC3..=0xCF | 0xD9 | 0xDC => return None,
            0xDA if headers.progressive => {
                headers.data = at - segment.len() - 4;
                break;
            }
            0xDA => {
                headers.scan(segment)?;
                headers.data = at;
                break;
            }
            0xDB => headers.quantisation(segment)?,
            // An XMP extension begins with a digest, a length and an offset, 40 bytes in total.
            0xE1 if segment.strip_prefix(XMP_EXTENSION).is_some_and(|rest| rest.len() < 40) => return None,
            0xE1 => {
                let exif = segment.strip_prefix(b"Exif\0\0").filter(|exif| !exif.is_empty());
                headers.exif = exif.or(headers.exif);
            }
            0xE0 => jfif |= segment.starts_with(b"JFIF\0"),
            0xEE if segment.starts_with(b"Adobe") => {
                let value = *segment.get(11)?;
                if value > 2 {
                    return None;
                }
                transform = Some(value);
            }
            _ => {}
        }
    }
    // The rules of libjpeg, which all other decoders follow.
    let ids = headers.components.iter().map(|component| component.id);
    headers.rgb = headers.components.len() == 3
        && match transform {
            Some(transform) => transform == 0,
            None => !jfif && ids.eq(*b"RGB"),
        };
    Some(headers)
}

impl Headers<'_> {
    fn frame(&mut self, segment: &[u8]) -> Option<()> {
        let [8, y1, y0, x1, x0, count @ (1 | 3), components @ ..] = segment else { return None };
        if !self.components.is_empty() || components.len() != 3 * usize::from(*count) {
            return None;
        }
        self.width = usize::from(u16::from_be_bytes([*x1, *x0]));
        self.height = usize::from(u16::from_be_bytes([*y1, *y0]));
        for [id, sampling, quantiser] in components.as_chunks::<3>().0 {
            // A single component has one block per MCU, whatever its sampling factors are.
            let sampling = if *count == 1 { 0x11 } else { *sampling };
            let (across, down, quantiser) = (usize::from(sampling >> 4), usize::from(sampling & 15), *quantiser);
            if !(1..=4).contains(&across) || !(1..=4).contains(&down) || quantiser > 3 {
                return None;
            }
            self.widest = self.widest.max(across);
            self.tallest = self.tallest.max(down);
            let quantiser = usize::from(quantiser);
            if self.components.iter().any(|component| component.id == *id) {
                return None;
            }
            self.components.push(Component { id: *id, across, down, quantiser, dc: 0, ac: 0 });
        }
        Some(())
    }

    /// Reads a segment that is also allowed between scans: Huffman codes or the restart interval.
    pub(super) fn tables(&mut self, marker: u8, segment: &[u8]) -> Option<()> {
        if marker == 0xC4 {
            return self.huffman(segment);
        }
        self.restart = usize::from(u16::from_be_bytes(*segment.as_array()?));
        Some(())
    }

    fn scan(&mut self, segment: &[u8]) -> Option<()> {
        let (count, tables) = segment.split_first()?;
        if usize::from(*count) != self.components.len() || self.components.is_empty() {
            return None;
        }
        for (component, [id, tables]) in self.components.iter_mut().zip(tables.as_chunks::<2>().0) {
            (component.dc, component.ac) = (usize::from(tables >> 4), usize::from(tables & 15));
            if component.id != *id || component.dc > 3 || component.ac > 3 {
                return None;
            }
            if self.quantisers[component.quantiser].is_none()
                || self.codes[component.dc].is_none()
                || self.codes[4 + component.ac].is_none()
            {
                return None;
            }
        }
        (tables.get(2 * usize::from(*count)..)? == [0, 63, 0]).then_some(())
    }

    fn quantisation(&mut self, mut segment: &[u8]) -> Option<()> {
        while let [kind, rest @ ..] = segment {
            let wide = match kind >> 4 {
                0 => false,
                1 => true,
                _ => return None,
            };
            let quantiser = self.quantisers.get_mut(usize::from(kind & 15))?.insert([0; 64]);
            let (values, rest) = rest.split_at_checked(if wide { 128 } else { 64 })?;
            for (index, place) in TRANSPOSED[..64].iter().enumerate() {
                let value = match wide {
                    true => i16::from_be_bytes([values[2 * index], values[2 * index + 1]]),
                    false => i16::from(values[index]),
                };
                quantiser[usize::from(*place)] = value;
            }
            segment = rest;
        }
        Some(())
    }

    fn huffman(&mut self, mut segment: &[u8]) -> Option<()> {
        while let [kind, rest @ ..] = segment {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let total = counts.iter().map(|&count| usize::from(count)).sum();
            let (symbols, rest) = rest.split_at_checked(total)?;
            if kind & 0xEC != 0 {
                return None;
            }
            let (ac, place) = (kind >> 4 == 1, usize::from(kind >> 4) * 4 + usize::from(kind & 3));
            self.codes[place] = Some(Code::new(counts, symbols, ac)?);
            segment = rest;
        }
        Some(())
    }
}
