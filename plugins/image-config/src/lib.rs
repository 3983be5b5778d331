//! The configuration of a tensor that is made of an image: its size and form, and how the image is fitted into it. The keys
//! are described in `image-preprocess`.

mod declared;
mod preset;

use image_core::{Channels, Dtype, Elements, Layout, Mode, Pack, Target};
use plimsoll_sdk::{Tensor, config, tensor};

use declared::ImageInput;
use preset::Preset;

/// The keys that [`TensorForm::read`] reads.
pub const KEYS: [&str; 14] = [
    "preset",
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
];

/// What becomes the tensor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// A whole image.
    Image,
    /// A box of an image. What is outside of the image is padded, with every `resize`.
    Box,
    /// Points of an image, which are brought to their places: there is no choice of `resize`.
    Points,
}

/// Larger than the input of any model. Two such sides multiplied by 16 bytes still fit into the guest's memory.
const MAX_SIDE: u32 = 4096;

/// The form of the tensor.
pub struct TensorForm {
    /// How the image is fitted into the tensor.
    pub target: Target,
    /// How values are converted to elements.
    pub pack: Pack,
    /// The name of the tensor.
    pub input: String,
}

impl TensorForm {
    /// Reads every key.
    ///
    /// # Errors
    /// A message that names the key that is missing, malformed or in conflict with another key.
    pub fn read(contents: Contents) -> Result<TensorForm, String> {
        let preset = Preset::read()?;
        let orders = [("rgb", Channels::Rgb), ("bgr", Channels::Bgr), ("gray", Channels::Gray)];
        let channels = chosen("channels", &orders)?.or(preset.map(|it| it.channels)).unwrap_or(Channels::Rgb);
        let layout = chosen("layout", &[("nchw", Layout::Nchw), ("nhwc", Layout::Nhwc)])?;
        let dtypes = [("f32", Dtype::F32), ("f16", Dtype::F16), ("bf16", Dtype::Bf16), ("u8", Dtype::U8)];
        let dtype = chosen("dtype", &dtypes)?;
        let input = config::get("input");
        let ImageInput { name, layout: declared_layout, width, height, dtype: declared_dtype } =
            declared::image_input(input.as_deref(), layout, channels.count())?;
        let layout = layout.or(declared_layout).or(preset.map(|it| it.layout)).unwrap_or(Layout::Nchw);
        let dtype = dtype.or(declared_dtype).unwrap_or(Dtype::F32);
        let of_preset = preset.and_then(|it| it.side);
        let (width, height) = (side("width", width.or(of_preset))?, side("height", height.or(of_preset))?);
        let target = target(contents, preset, width, height)?;
        let is_padded = contents != Contents::Image || target.mode == Mode::Letterbox;
        only_with("pad", is_padded, "`resize = \"letterbox\"`")?;
        for key in ["mean", "scale"] {
            only_with(key, dtype != Dtype::U8, "a `dtype` of `f32`, `f16` or `bf16`")?;
        }
        if let Some(preset) = preset.filter(|_| dtype == Dtype::U8) {
            return Err(format!(
                "configuration key `preset`: `{}` makes numbers from bytes, but the model takes bytes (`dtype = \"u8\"`): remove \
                 the key, and set `resize`, `channels` and so on",
                preset.name()
            ));
        }
        let is_normalised = config::get("mean").is_some() && config::get("scale").is_some();
        let [mean, scale] = match preset.filter(|_| !is_normalised) {
            Some(preset) => preset.normalisation(channels)?,
            None => [[0.0; 3], [1.0; 3]],
        };
        let pack = Pack {
            width,
            height,
            order: channels,
            layout,
            invert: config::parse("invert", false)?,
            pad: config::parse("pad", preset.filter(|_| is_padded).map_or(0, |it| it.pad))?,
            mean: per_channel("mean", channels.count(), mean)?,
            scale: per_channel("scale", channels.count(), scale)?,
            dtype,
        };
        check_range(&pack)?;
        Ok(TensorForm { target, pack, input: input.or(name).unwrap_or_else(|| "image".into()) })
    }

    /// A tensor of this form.
    pub fn tensor(&self, elements: &Elements) -> Tensor {
        let shape = self.pack.shape();
        match elements {
            Elements::F32(data) => tensor::from_f32(&shape, data),
            Elements::F16(bits) => tensor::from_f16(&shape, bits),
            Elements::Bf16(bits) => tensor::from_bf16(&shape, bits),
            Elements::U8(data) => tensor::from_u8(&shape, data),
        }
    }
}

/// Reads the keys of the size and of how the image is fitted into it.
fn target(contents: Contents, preset: Option<&Preset>, width: u32, height: u32) -> Result<Target, String> {
    let modes = [("stretch", Mode::Stretch), ("letterbox", Mode::Letterbox), ("crop", Mode::Crop)];
    let mode = match chosen("resize", &modes)? {
        Some(mode) => mode,
        None if contents == Contents::Points => Mode::Stretch,
        None => preset.map_or(Mode::Stretch, |it| it.mode),
    };
    let is_crop = mode == Mode::Crop;
    only_with("resize_shorter", is_crop, "`resize = \"crop\"`")?;
    only_with("crop_rounding", is_crop, "`resize = \"crop\"`")?;
    let nearest = config::choice("crop_rounding", &[("torchvision", false), ("nearest", true)])?;
    let larger = width.max(height);
    let shorter = match config::get("resize_shorter") {
        Some(_) => Some(config::parse("resize_shorter", 0)?),
        None => preset.filter(|_| is_crop).and_then(|it| it.shorter(larger)),
    };
    if let Some(shorter) = shorter.filter(|&shorter| shorter < larger) {
        return Err(format!(
            "configuration key `resize_shorter`: {shorter} is smaller than a side of the input ({width} x {height})"
        ));
    }
    Ok(Target { width, height, mode: if nearest { Mode::CropNearest } else { mode }, shorter })
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

/// Rejects a key that would have no effect, because its author expects an effect. `needed` is what it needs.
///
/// # Errors
/// If the key is set and has no effect.
pub fn only_with(key: &str, applies: bool, needed: &str) -> Result<(), String> {
    if applies || config::get(key).is_none() {
        Ok(())
    } else {
        Err(format!("configuration key `{key}` can only be used with {needed}"))
    }
}

/// Reads a list of one number, or of one number for each channel.
fn per_channel(key: &str, channels: usize, default: [f32; 3]) -> Result<[f32; 3], String> {
    let Some(values) = config::list::<f32>(key)? else { return Ok(default) };
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
