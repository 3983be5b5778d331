//! The body into pixels, within limits that are checked before the memory is taken.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader};

/// The longest side. JPEG, GIF and WebP can hold no longer one, and it bounds what resizing needs.
const MAX_SIDE: u32 = 65_535;

/// What an image may cost.
#[derive(Clone, Copy)]
pub struct Limits {
    /// The product of the declared width and height.
    pub max_pixels: u64,
    /// The bytes of the pixels, and of what the decoder needs besides them.
    pub max_bytes: u64,
}

/// Why there are no pixels; the text is for the caller.
#[derive(Debug)]
pub enum Rejected {
    /// The body is no image of a kind that is read here.
    Unknown(String),
    /// The body is such an image, but not a sound one.
    Broken(String),
    /// The image asks for more than the limits allow.
    TooLarge(String),
}

/// The pixels as they are stored, and how to turn them. They are turned after resizing, when they are few.
pub struct Decoded {
    pub image: DynamicImage,
    pub orientation: Orientation,
}

impl Decoded {
    /// Whether the orientation swaps width and height.
    pub fn is_transposed(&self) -> bool {
        use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
        matches!(self.orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
    }

    /// Width and height as a viewer sees them.
    pub fn oriented_size(&self) -> (u32, u32) {
        let (width, height) = (self.image.width(), self.image.height());
        if self.is_transposed() { (height, width) } else { (width, height) }
    }
}

/// Decodes the first frame.
///
/// # Errors
/// See [`Rejected`].
pub fn decode(body: &[u8], limits: Limits) -> Result<Decoded, Rejected> {
    let format = sniff(body)?;
    let mut budget = image::Limits::no_limits();
    budget.max_alloc = Some(limits.max_bytes);

    let mut reader = ImageReader::with_format(Cursor::new(body), format);
    reader.limits(budget.clone());
    let mut decoder = reader.into_decoder().map_err(|error| rejected(format, limits, &error))?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(Rejected::Broken(format!("the {format:?} image has no pixels: {width} x {height}")));
    }
    if pixels > limits.max_pixels || width.max(height) > MAX_SIDE {
        return Err(Rejected::TooLarge(format!(
            "the image has {width} x {height} = {pixels} pixels; the limit is {} pixels, and {MAX_SIDE} for a side",
            limits.max_pixels
        )));
    }
    let besides = if format == ImageFormat::Jpeg { jpeg_coefficients(body, pixels) } else { 0 };
    let needed = decoder.total_bytes().saturating_add(besides);
    if needed > limits.max_bytes {
        return Err(Rejected::TooLarge(format!(
            "the image of {width} x {height} pixels takes {needed} bytes to decode; the limit is {}",
            limits.max_bytes
        )));
    }
    // The decoder of TIFF takes the pixels off the budget itself; the others count only what they need besides.
    if format != ImageFormat::Tiff {
        budget.max_alloc = Some(limits.max_bytes - needed);
        decoder.set_limits(budget).map_err(|error| rejected(format, limits, &error))?;
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(|error| rejected(format, limits, &error))?;
    Ok(Decoded { image, orientation })
}

/// The format by the first bytes.
fn sniff(body: &[u8]) -> Result<ImageFormat, Rejected> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    if body.is_empty() {
        return Err(Rejected::Broken("the body is empty; it must be an image".into()));
    }
    // BigTIFF, which the decoder reads, but which is not recognised.
    if body.starts_with(b"II+\0") || body.starts_with(b"MM\0+") {
        return Ok(Tiff);
    }
    match image::guess_format(body) {
        Ok(format @ (Bmp | Gif | Jpeg | Png | Tiff | WebP)) => Ok(format),
        Ok(other) => {
            Err(Rejected::Unknown(format!("the body is {other:?}; JPEG, PNG, WebP, GIF, BMP and TIFF are read")))
        }
        Err(_) => {
            Err(Rejected::Unknown("the body is no known image; JPEG, PNG, WebP, GIF, BMP and TIFF are read".into()))
        }
    }
}

fn rejected(format: ImageFormat, limits: Limits, error: &ImageError) -> Rejected {
    match error {
        ImageError::Limits(error) => Rejected::TooLarge(format!(
            "decoding the {format:?} image takes more than the limit of {} bytes: {error}",
            limits.max_bytes
        )),
        ImageError::Unsupported(error) => Rejected::Unknown(error.to_string()),
        error => Rejected::Broken(format!("the {format:?} image is broken: {error}")),
    }
}

/// The bytes that the coefficients of a JPEG take when its scans do not each hold whole pixels (progressive,
/// or one scan for each component): all of them are kept, two bytes each, until the last scan. The decoder
/// does not count them against its limits.
fn jpeg_coefficients(body: &[u8], pixels: u64) -> u64 {
    let mut rest = body.get(2..).unwrap_or_default();
    let (mut components, mut kept) = (0, 0);
    while let [0xFF, marker, after @ ..] = rest {
        // Fill bytes, and markers without a segment.
        if matches!(marker, 0xFF | 0x01 | 0xD0..=0xD8) {
            rest = if *marker == 0xFF { &rest[1..] } else { after };
            continue;
        }
        let [high, low, segment @ ..] = after else { break };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        match marker {
            0xC0..=0xCF if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => {
                components = segment.get(5).copied().unwrap_or(0);
                let samplings = segment.get(6..).unwrap_or_default().chunks_exact(3);
                let samplings = samplings.take(usize::from(components)).map(|it| (it[1] >> 4, it[1] & 15));
                let widest = samplings.clone().map(|(x, _)| u64::from(x)).max().unwrap_or(1).max(1);
                let tallest = samplings.clone().map(|(_, y)| u64::from(y)).max().unwrap_or(1).max(1);
                let sampled: u64 = samplings.map(|(x, y)| u64::from(x) * u64::from(y)).sum();
                kept = 2 * pixels * sampled / (widest * tallest);
                if *marker == 0xC2 {
                    return kept;
                }
            }
            0xDA => return if segment.first().copied().unwrap_or(0) < components { kept } else { 0 },
            _ => {}
        }
        rest = after.get(length..).unwrap_or_default();
    }
    kept
}
