//! Limits on the pixels and memory of an image, and the reasons why an image is refused.

/// The longest side in pixels. JPEG, GIF and WebP cannot store a longer side, and it limits the memory for resizing.
const MAX_SIDE: u32 = 65_535;

/// The maximum pixels and memory of an image.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The maximum product of the declared width and height.
    pub max_pixels: u64,
    /// The maximum bytes for decoding and resizing, in addition to the body and the tensor.
    pub max_bytes: u64,
}

/// Why an image was refused; the text is for the caller.
#[derive(Debug, Clone, PartialEq)]
pub enum Rejected {
    /// The body is not an image of a supported kind.
    Unknown(String),
    /// The body is an image of a supported kind, but it is broken.
    Broken(String),
    /// The image exceeds the limits.
    TooLarge(String),
}

impl Rejected {
    /// The image of this format is broken; `error` is the message of its decoder.
    pub(crate) fn broken(format: &str, error: impl std::fmt::Display) -> Rejected {
        Rejected::Broken(format!("the {format} image is broken: {error}"))
    }
}

impl Limits {
    /// Checks the declared size. Call before decoding.
    pub(crate) fn check_size(&self, format: &str, width: u32, height: u32) -> Result<(), Rejected> {
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 {
            return Err(Rejected::Broken(format!("the {format} image has no pixels: {width} x {height}")));
        }
        if pixels > self.max_pixels || width.max(height) > MAX_SIDE {
            return Err(Rejected::TooLarge(format!(
                "the image has {width} x {height} = {pixels} pixels; the limit is {} pixels and {MAX_SIDE} per side",
                self.max_pixels
            )));
        }
        Ok(())
    }

    /// Checks the bytes that decoding will need. Call before allocating. Returns the bytes that remain within the
    /// limit.
    pub(crate) fn check_bytes(&self, kind: &str, width: u32, height: u32, needed: u64) -> Result<u64, Rejected> {
        self.max_bytes.checked_sub(needed).ok_or_else(|| {
            Rejected::TooLarge(format!(
                "{kind} of {width} x {height} pixels needs {needed} bytes to decode; the limit is {} bytes",
                self.max_bytes
            ))
        })
    }

    /// A decoder exceeded its memory limit.
    pub(crate) fn exceeded(&self, format: &str, error: impl std::fmt::Display) -> Rejected {
        Rejected::TooLarge(format!(
            "decoding the {format} image needs more than the limit of {} bytes: {error}",
            self.max_bytes
        ))
    }
}
