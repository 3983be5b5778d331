//! The configuration of the stage, read and checked once at deployment; the keys are described in `lib.rs`.

use image_core::{Channels, Dtype, Layout, Limits, Mode, Pack, Settings, Target};
use plimsoll_sdk::config;

use crate::declared::{self, ImageInput};

const KEYS: &[&str] = &[
    "width",
    "height",
    "resize",
    "resize_shorter",
    "crop_rounding",
    "pad",
    "channels",
    "invert",
    "mean",
    "scale",
    "layout",
    "dtype",
    "input",
    "max_pixels",
    "max_decoded_bytes",
    "draft",
];

/// Larger than the input of any model. Two such sides multiplied by 16 bytes still fit into the guest's memory.
const MAX_SIDE: u32 = 4096;

/// The configuration that `init` prepares for all requests.
pub(crate) struct Configuration {
    pub(crate) settings: Settings,
    /// The name of the tensor.
    pub(crate) input: String,
}

impl Configuration {
    /// Reads every key.
    ///
    /// # Errors
    /// A message that names the key that is unknown, missing, malformed or in conflict with another key.
    pub(crate) fn read() -> Result<Configuration, String> {
        config::only(KEYS)?;
        let channels =
            config::choice("channels", &[("rgb", Channels::Rgb), ("bgr", Channels::Bgr), ("gray", Channels::Gray)])?;
        let layout = chosen("layout", &[("nchw", Layout::Nchw), ("nhwc", Layout::Nhwc)])?;
        let dtypes = [("f32", Dtype::F32), ("f16", Dtype::F16), ("bf16", Dtype::Bf16), ("u8", Dtype::U8)];
        let dtype = chosen("dtype", &dtypes)?;
        let input = config::get("input");
        let ImageInput { name, layout: declared_layout, width, height, dtype: declared_dtype } =
            declared::image_input(input.as_deref(), layout, channels.count())?;
        let layout = layout.or(declared_layout).unwrap_or(Layout::Nchw);
        let dtype = dtype.or(declared_dtype).unwrap_or(Dtype::F32);
        let (width, height) = (side("width", width)?, side("height", height)?);
        let mode = config::choice(
            "resize",
            &[("stretch", Mode::Stretch), ("letterbox", Mode::Letterbox), ("crop", Mode::Crop)],
        )?;
        only_with("resize_shorter", mode == Mode::Crop, "`resize = \"crop\"`")?;
        only_with("crop_rounding", mode == Mode::Crop, "`resize = \"crop\"`")?;
        only_with("pad", mode == Mode::Letterbox, "`resize = \"letterbox\"`")?;
        let nearest = config::choice("crop_rounding", &[("torchvision", false), ("nearest", true)])?;
        let mode = if nearest { Mode::CropNearest } else { mode };
        let shorter = config::get("resize_shorter").map(|_| config::parse("resize_shorter", 0)).transpose()?;
        if let Some(shorter) = shorter.filter(|&shorter| shorter < width.max(height)) {
            return Err(format!(
                "configuration key `resize_shorter`: {shorter} is smaller than a side of the input ({width} x {height})"
            ));
        }

        for key in ["mean", "scale"] {
            only_with(key, dtype != Dtype::U8, "a `dtype` of `f32`, `f16` or `bf16`")?;
        }

        let settings = Settings {
            target: Target { width, height, mode, shorter },
            pack: Pack {
                width,
                height,
                order: channels,
                layout,
                invert: config::parse("invert", false)?,
                pad: config::parse("pad", 0)?,
                mean: per_channel("mean", channels.count(), 0.0)?,
                scale: per_channel("scale", channels.count(), 1.0)?,
                dtype,
            },
            limits: Limits {
                max_pixels: config::parse("max_pixels", 25_000_000)?,
                max_bytes: config::parse("max_decoded_bytes", 192 << 20)?,
            },
            draft: config::parse("draft", false)?,
        };
        check_range(&settings.pack)?;
        Ok(Configuration { settings, input: input.or(name).unwrap_or_else(|| "image".into()) })
    }
}

/// Reads a key that must be one of the named choices. `None` if it is not set.
fn chosen<T: Copy>(key: &str, choices: &[(&str, T)]) -> Result<Option<T>, String> {
    config::get(key).map(|_| config::choice(key, choices)).transpose()
}

/// Reads a side of the input. `declared` is the model's.
fn side(key: &str, declared: Option<u32>) -> Result<u32, String> {
    if config::get(key).is_none() && declared.is_none() {
        return Err(format!(
            "configuration key `{key}` is missing, and no model fixes it; set it to the size of the model's input in \
             pixels"
        ));
    }
    match config::parse(key, declared.unwrap_or(0))? {
        value @ 1..=MAX_SIDE => Ok(value),
        value => Err(format!("configuration key `{key}`: {value} is not between 1 and {MAX_SIDE} pixels")),
    }
}

/// The largest number of half precision.
const MAX_F16: f32 = 65_504.0;

/// Rejects a normalisation whose results half precision does not have; they would become infinite.
fn check_range(pack: &Pack) -> Result<(), String> {
    if pack.dtype != Dtype::F16 {
        return Ok(());
    }
    let ends = pack.mean.iter().zip(pack.scale).flat_map(|(&mean, scale)| [-mean * scale, (255.0 - mean) * scale]);
    match ends.into_iter().find(|end| end.abs() > MAX_F16) {
        Some(end) => Err(format!(
            "configuration keys `mean` and `scale`: an element could be {end}, but `dtype = \"f16\"` has numbers up to \
             {MAX_F16} only"
        )),
        None => Ok(()),
    }
}

/// Rejects a key that would have no effect, because its author expects an effect.
fn only_with(key: &str, applies: bool, needed: &str) -> Result<(), String> {
    if applies || config::get(key).is_none() {
        Ok(())
    } else {
        Err(format!("configuration key `{key}` can only be used with {needed}"))
    }
}

/// Reads a list of one number, or of one number for each channel.
fn per_channel(key: &str, channels: usize, default: f32) -> Result<[f32; 3], String> {
    let values = config::list::<f32>(key)?.unwrap_or_else(|| vec![default]);
    if let Some(value) = values.iter().find(|value| !value.is_finite()) {
        return Err(format!("configuration key `{key}`: {value} is not a finite number"));
    }
    match *values.as_slice() {
        [one] => Ok([one; 3]),
        [first, second, third] if channels == 3 => Ok([first, second, third]),
        _ => Err(format!(
            "configuration key `{key}`: {} numbers for {channels} channel(s); give one number, or one for each channel",
            values.len()
        )),
    }
}
