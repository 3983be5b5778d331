//! What an image may cost, and why there is no tensor.

/// The longest side. JPEG, GIF and WebP can hold no longer one, and it bounds what resizing needs.
const MAX_SIDE: u32 = 65_535;

/// What an image may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The product of the declared width and height.
    pub max_pixels: u64,
    /// The bytes that decoding and resizing take besides the body and the tensor.
    pub max_bytes: u64,
}

/// Why there is no tensor; the text is for the caller.
#[derive(Debug, Clone, PartialEq)]
pub enum Rejected {
    /// The body is no image of a kind that is read here.
    Unknown(String),
    /// The body is such an image, but not a sound one.
    Broken(String),
    /// The image asks for more than the limits allow.
    TooLarge(String),
}

impl Rejected {
    /// A broken image of a format, and what its decoder says.
    pub(crate) fn broken(format: &str, error: impl std::fmt::Display) -> Rejected {
        Rejected::Broken(format!("the {format} image is broken: {error}"))
    }
}

impl Limits {
    /// Checks the declared size before anything is decoded.
    pub(crate) fn check_size(&self, format: &str, width: u32, height: u32) -> Result<(), Rejected> {
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 {
            return Err(Rejected::Broken(format!("the {format} image has no pixels: {width} x {height}")));
        }
        if pixels > self.max_pixels || width.max(height) > MAX_SIDE {
            return Err(Rejected::TooLarge(format!(
                "the image has {width} x {height} = {pixels} pixels; the limit is {} pixels, and {MAX_SIDE} for a side",
                self.max_pixels
            )));
        }
        Ok(())
    }

    /// Checks what decoding will take before it takes it; gives what the limit leaves.
    pub(crate) fn check_bytes(&self, kind: &str, width: u32, height: u32, needed: u64) -> Result<u64, Rejected> {
        self.max_bytes.checked_sub(needed).ok_or_else(|| {
            Rejected::TooLarge(format!(
                "{kind} of {width} x {height} pixels takes {needed} bytes to decode; the limit is {} bytes",
                self.max_bytes
            ))
        })
    }

    /// A decoder went over the limit that it was given.
    pub(crate) fn exceeded(&self, format: &str, error: impl std::fmt::Display) -> Rejected {
        Rejected::TooLarge(format!(
            "decoding the {format} image takes more than the limit of {} bytes: {error}",
            self.max_bytes
        ))
    }
}
