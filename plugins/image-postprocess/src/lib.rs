//! Postprocess stage for models that return an image (super-resolution, denoising, colouring, depth): a tensor as PNG, JPEG or
//! WebP.
//!
//! Configuration:
//! - `output`: the name of the tensor. Optional if the model has one output.
//! - `layout`: `nchw` (default): the tensor has the shape `[1, C, H, W]` or `[C, H, W]`; `nhwc`: `[1, H, W, C]` or
//!   `[H, W, C]`. C is 3 (colours) or 1 (gray). `[H, W]` is gray in both.
//! - `range`: the numbers that become black and white, such as `[-1, 1]`; the second one may be the smaller, which inverts the
//!   image. Default: `[0, 1]`, for tensors of u8 `[0, 255]`. `range = "image"`: the least and the greatest number of each
//!   image, for depth maps, whose numbers have no fixed range; an image of equal numbers is black.
//! - `channels`: for 3 channels, `rgb` (default) or `bgr`: the order in the tensor.
//! - `format`: `png` (default), `jpeg` or `webp` (lossless).
//! - `quality`: for `jpeg`, 1 to 100 (default 90), with the tables of libjpeg, without subsampling of colours.
//!
//! A number v becomes the byte `floor((v - first) / (second - first) * 255 + 0.5)`, computed in f64, as `save_image` of
//! torchvision rounds. Numbers outside of the range are clamped: models overshoot at edges. But a number that is outside by more
//! than half of the range is an error (500), because then the range is another one. So are NaN and infinity. A range that is too
//! large cannot be seen from the numbers: with `[0, 255]` for a model that returns 0 to 1, the image is black.
//!
//! The image has the size of the tensor, also if `image-preprocess` changed the proportions of the caller's image or added a
//! border. If the model declares its outputs, type and shape are checked at deployment. The encoders are the crates `png`,
//! `image` and `image-webp`, of the project image-rs.

mod encode;
mod pixels;
mod settings;

use plimsoll_sdk::{Configured, Failure, Init, NamedTensor, Postprocess, Reply, Request, export_postprocess, model};
use postprocess_core::outputs;

use settings::Settings;

struct Image;

export_postprocess!(Image with init);

static SETTINGS: Configured<Settings> = Configured::new();

impl Init for Image {
    fn init() -> Result<(), String> {
        let settings = Settings::read()?;
        if let Some(declared) = model::outputs()? {
            let output = outputs::declared(&declared, "output", &settings.output, pixels::TYPES)?;
            if let Some(shape) = &output.shape {
                pixels::sizes(&settings, &output.name, shape)?;
            }
        }
        SETTINGS.set(settings)
    }
}

impl Postprocess for Image {
    fn run(_request: Request, outputs: Vec<NamedTensor>, _context: Vec<u8>) -> Result<Reply, Failure> {
        let settings = SETTINGS.get()?;
        reply(settings, &outputs).map_err(Failure::Internal)
    }
}

fn reply(settings: &Settings, tensors: &[NamedTensor]) -> Result<Reply, String> {
    let (name, tensor) = outputs::find(tensors, &settings.output)?;
    let image = pixels::read(settings, name, tensor)?;
    let (content_type, body) = encode::encode(settings.format, &image)?;
    Ok(Reply { content_type: content_type.into(), body })
}
