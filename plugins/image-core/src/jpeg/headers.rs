//! The headers of an image: its frame, tables and metadata before the first scan, and the header of each scan.

use std::borrow::Cow;

use super::arithmetic::Conditioning;
use super::colours::{Colours, Markers};
use super::fault::{Fault, unsupported};
use super::huffman::Code;
use super::segments::next_segment;
use super::standard;
use crate::limits::Rejected;

/// The headers before the first scan. Segments between scans update them.
pub(super) struct Headers<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) components: Vec<Component>,
    /// The largest horizontal and vertical sampling factor.
    pub(super) widest: usize,
    pub(super) tallest: usize,
    /// Quantisation tables in the coefficient order of blocks, see [`ZIGZAG`](super::tables::ZIGZAG).
    pub(super) quantisers: [Option<[i16; 64]>; 4],
    /// Four codes of the DC differences, then four codes of the AC coefficients.
    pub(super) codes: [Option<Code>; 8],
    /// The number of MCUs between restart markers; 0 if there are no markers.
    pub(super) restart: usize,
    pub(super) colours: Colours,
    /// The EXIF block. If it is split into several segments, these are joined.
    pub(super) exif: Option<Cow<'a, [u8]>>,
    /// The last XMP segment.
    pub(super) xmp: Option<&'a [u8]>,
    /// True if the image is progressive: its coefficients are spread over several scans.
    pub(super) progressive: bool,
    /// True if the image is arithmetic-coded, false if it has Huffman codes.
    pub(super) arithmetic: bool,
    pub(super) conditioning: Conditioning,
    /// The offset of the marker of the first scan.
    pub(super) first_scan: usize,
}

/// A component: its sampling factors and the number of its quantisation table.
pub(super) struct Component {
    pub(super) id: u8,
    /// The horizontal and the vertical sampling factor: the blocks of an MCU in each direction.
    pub(super) across: usize,
    pub(super) down: usize,
    pub(super) quantiser: usize,
}

/// The header of a scan.
pub(super) struct Scan {
    pub(super) components: Vec<ScanComponent>,
    /// `Ss`, `Se`, and `Ah` with `Al`.
    pub(super) band: [u8; 3],
}

/// A component of a scan: its index in the frame, and the numbers of its tables for DC differences and AC coefficients.
pub(super) struct ScanComponent {
    pub(super) place: usize,
    pub(super) dc: usize,
    pub(super) ac: usize,
}

/// Reads the headers up to the first scan.
///
/// # Errors
/// If they are broken, or the image is of an unsupported kind.
pub(super) fn read(body: &[u8]) -> Result<Headers<'_>, Rejected> {
    let mut headers = Headers {
        width: 0,
        height: 0,
        components: Vec::new(),
        widest: 1,
        tallest: 1,
        quantisers: [None; 4],
        codes: Default::default(),
        restart: 0,
        colours: Colours::Gray,
        exif: None,
        xmp: None,
        progressive: false,
        arithmetic: false,
        conditioning: Conditioning::default(),
        first_scan: 0,
    };
    let mut markers = Markers::default();
    let mut at = 2;
    loop {
        let (marker, segment) = next_segment(body, &mut at).ok_or(Fault::Truncated)?;
        match marker {
            0xC0..=0xC2 | 0xC9 | 0xCA => {
                headers.frame(marker, segment)?;
                headers.progressive = matches!(marker, 0xC2 | 0xCA);
                headers.arithmetic = matches!(marker, 0xC9 | 0xCA);
            }
            0xC3 | 0xC5..=0xC7 | 0xCB | 0xCD..=0xCF => return Err(unsupported_frame(marker)),
            0xF7 => return Err(unsupported("JPEG-LS (SOF55)")),
            0xD9 => return Err(Fault::NoScan.into()),
            0xDA => {
                headers.first_scan = at - segment.len() - 4;
                break;
            }
            0xE0 | 0xEE => markers.read(marker, segment),
            0xE1 => headers.metadata(segment),
            _ => headers.table(marker, segment)?,
        }
    }
    if headers.components.is_empty() {
        return Err(Fault::Segment(0xDA).into());
    }
    headers.colours = markers.colours(&headers.components);
    if !headers.progressive && !headers.arithmetic {
        standard::define_missing(&mut headers.codes);
    }
    Ok(headers)
}

/// The reason why an image with this frame marker is refused.
fn unsupported_frame(marker: u8) -> Rejected {
    let number = marker - 0xC0;
    unsupported(match marker {
        0xC3 => "lossless JPEG (SOF3)".to_owned(),
        0xCB => "lossless arithmetic-coded JPEG (SOF11)".to_owned(),
        _ => format!("hierarchical JPEG (SOF{number})"),
    })
}

impl<'a> Headers<'a> {
    /// The number of MCUs in a row and in a column, if a scan has several components.
    pub(super) fn mcus(&self) -> (usize, usize) {
        (self.width.div_ceil(8 * self.widest), self.height.div_ceil(8 * self.tallest))
    }

    /// The number of samples in a row and in a column of a component.
    pub(super) fn samples(&self, component: &Component) -> (usize, usize) {
        ((self.width * component.across).div_ceil(self.widest), (self.height * component.down).div_ceil(self.tallest))
    }

    /// Reads the frame header (T.81, B.2.2).
    fn frame(&mut self, marker: u8, segment: &[u8]) -> Result<(), Rejected> {
        let broken = || Rejected::from(Fault::Segment(marker));
        let [precision, y1, y0, x1, x0, count, components @ ..] = segment else { return Err(broken()) };
        if !self.components.is_empty() || components.len() != 3 * usize::from(*count) {
            return Err(broken());
        }
        if *precision != 8 {
            return Err(unsupported(format!("JPEG with {precision} bits per sample")));
        }
        self.width = usize::from(u16::from_be_bytes([*x1, *x0]));
        self.height = usize::from(u16::from_be_bytes([*y1, *y0]));
        if self.height == 0 {
            return Err(unsupported("JPEG that declares its height after its first scan (DNL)"));
        }
        if !matches!(count, 1 | 3 | 4) {
            return Err(unsupported(format!("JPEG with {count} components")));
        }
        for [id, sampling, quantiser] in components.as_chunks::<3>().0 {
            let (across, down, quantiser) =
                (usize::from(sampling >> 4), usize::from(sampling & 15), usize::from(*quantiser));
            if !(1..=4).contains(&across) || !(1..=4).contains(&down) || quantiser > 3 {
                return Err(broken());
            }
            if self.components.iter().any(|component| component.id == *id) {
                return Err(broken());
            }
            // A single component has one block per MCU, whatever its sampling factors are.
            let (across, down) = if *count == 1 { (1, 1) } else { (across, down) };
            self.widest = self.widest.max(across);
            self.tallest = self.tallest.max(down);
            self.components.push(Component { id: *id, across, down, quantiser });
        }
        let fractional =
            |it: &Component| !self.widest.is_multiple_of(it.across) || !self.tallest.is_multiple_of(it.down);
        if self.components.iter().any(fractional) {
            return Err(unsupported("JPEG with sampling factors that are not multiples of each other"));
        }
        Ok(())
    }

    /// Reads an APP1 segment. The parts of an EXIF block of more than 64 KB are in several segments; as in Pillow, all
    /// EXIF segments are joined. If there are several complete blocks, the first one counts. Of XMP segments, the last
    /// one counts.
    fn metadata(&mut self, segment: &'a [u8]) {
        if let Some(xmp) = segment.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0") {
            self.xmp = Some(xmp);
        }
        let Some(part) = segment.strip_prefix(b"Exif\0\0") else { return };
        self.exif = Some(match self.exif.take() {
            None => Cow::Borrowed(part),
            Some(mut exif) => {
                exif.to_mut().extend(part);
                exif
            }
        });
    }

    /// Reads the header of a scan (T.81, B.2.3), and prepares the codes for its data.
    pub(super) fn scan(&mut self, segment: &[u8]) -> Result<Scan, Fault> {
        let broken = Fault::Segment(0xDA);
        let (components, band) = segment.split_last_chunk::<3>().ok_or(broken)?;
        let (count, components) = components.split_first().ok_or(broken)?;
        if components.len() != 2 * usize::from(*count) || *count == 0 {
            return Err(broken);
        }
        let mut scan = Scan { components: Vec::with_capacity(4), band: *band };
        for [id, tables] in components.as_chunks::<2>().0 {
            let place = self.components.iter().position(|component| component.id == *id).ok_or(broken)?;
            // Components must be in the order of the frame, and each only once.
            if scan.components.last().is_some_and(|last| place <= last.place) {
                return Err(broken);
            }
            let (dc, ac) = (usize::from(tables >> 4), usize::from(tables & 15));
            if dc > 3 || ac > 3 {
                return Err(broken);
            }
            scan.components.push(ScanComponent { place, dc, ac });
        }
        // Restart markers limit the damage of broken data to an interval, so the rest of the image is usable.
        let tolerant = self.restart > 0;
        self.codes.iter_mut().flatten().for_each(|code| code.tolerant = tolerant);
        Ok(scan)
    }
}
