//! The configuration of the stage, read and checked once at deployment; the keys are described in `lib.rs`.

use plimsoll_sdk::config;

/// The configuration.
pub struct Settings {
    /// The name of the output; empty if the model has one.
    pub output: String,
    /// True if the channels of a pixel are next to each other.
    pub is_nhwc: bool,
    /// The numbers that become black and white.
    pub range: Range,
    /// True if the tensor has blue, green, red.
    pub is_bgr: bool,
    /// The format of the image.
    pub format: Format,
}

/// Which numbers become black and white.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Range {
    /// 0 and 1; for bytes 0 and 255.
    Default,
    /// These.
    Fixed(f64, f64),
    /// The least and the greatest number of the image.
    Image,
}

/// The format of the image.
#[derive(Clone, Copy, PartialEq)]
pub enum Format {
    /// PNG.
    Png,
    /// JPEG of this quality.
    Jpeg(u8),
    /// Lossless WebP.
    Webp,
}

impl Settings {
    /// Reads every key.
    ///
    /// # Errors
    /// A message that names the key that is unknown, malformed or in conflict with another key.
    pub fn read() -> Result<Settings, String> {
        config::only(&["output", "layout", "range", "channels", "format", "quality"])?;
        let quality: u8 = config::parse("quality", 90)?;
        if !(1..=100).contains(&quality) {
            return Err(format!("configuration key `quality`: {quality} is not between 1 and 100"));
        }
        let formats = [("png", Format::Png), ("jpeg", Format::Jpeg(quality)), ("webp", Format::Webp)];
        let format = config::choice("format", &formats)?;
        if config::get("quality").is_some() && !matches!(format, Format::Jpeg(_)) {
            return Err("configuration key `quality` can only be used with `format = \"jpeg\"`".into());
        }
        Ok(Settings {
            output: config::get("output").unwrap_or_default(),
            is_nhwc: config::choice("layout", &[("nchw", false), ("nhwc", true)])?,
            range: range()?,
            is_bgr: config::choice("channels", &[("rgb", false), ("bgr", true)])?,
            format,
        })
    }
}

fn range() -> Result<Range, String> {
    if config::get("range").as_deref() == Some("image") {
        return Ok(Range::Image);
    }
    let numbers = config::list::<f64>("range")
        .map_err(|error| format!("{error}; write two numbers, such as [0, 255], or \"image\""))?;
    match numbers.as_deref() {
        None => Ok(Range::Default),
        Some(&[first, second]) if first.is_finite() && second.is_finite() && first != second => {
            Ok(Range::Fixed(first, second))
        }
        Some(other) => {
            Err(format!("configuration key `range`: {other:?} are not two different finite numbers, such as [0, 255]"))
        }
    }
}
