//! The input of a model for images: name, size, layout and type.

use plimsoll_runtime::nn::{Description, ValueDescription};
use plimsoll_runtime::tensor::TensorType;

use super::setting::Setting;
use crate::cli::error::Error;

/// The largest side of an image that is accepted as a statement.
pub(in crate::cli) const MAX_SIDE: u64 = 16_384;

/// The input of a model for images.
#[derive(Debug, Clone)]
pub(in crate::cli) struct ImageInput {
    /// The name.
    pub(in crate::cli) name: String,
    /// Pixels in a row.
    pub(in crate::cli) width: u64,
    /// Rows.
    pub(in crate::cli) height: u64,
    /// 3 for colours, 1 for gray.
    pub(in crate::cli) channels: u64,
    /// True if the channels are the last dimension.
    pub(in crate::cli) is_nhwc: bool,
    /// True if the model does not say which dimension has the channels.
    pub(in crate::cli) is_layout_assumed: bool,
    /// The type of its elements.
    pub(in crate::cli) ty: TensorType,
    /// True if the number of images is not fixed.
    pub(in crate::cli) has_batch_axis: bool,
    /// Where the size comes from; `None` if it is assumed.
    pub(in crate::cli) size_source: Option<&'static str>,
}

impl ImageInput {
    /// True for bytes, false for floating point numbers.
    pub(in crate::cli) fn is_u8(&self) -> bool {
        self.ty == TensorType::U8
    }

    /// Finds the input. `size` is width and height as the user states them, `fallback` the size if nothing states it.
    pub(in crate::cli) fn find(model: &Description, size: Option<(u64, u64)>, fallback: u64) -> Result<Self, Error> {
        let [input] = &*model.inputs else { return Err(no_image(model, "it has more or fewer inputs than one")) };
        let ty = match input.element {
            Some("UINT8") => TensorType::U8,
            Some("FLOAT") => TensorType::Fp32,
            Some("FLOAT16") => TensorType::Fp16,
            Some("BFLOAT16") => TensorType::Bf16,
            _ => return Err(no_image(model, "images can be passed as FLOAT, FLOAT16, BFLOAT16 or UINT8 only")),
        };
        // Some exporters write 0 for a size that is not fixed.
        let shape = input.shape.iter().flatten().map(|size| size.filter(|&size| size > 0)).collect::<Vec<_>>();
        let &[batch, a, b, c] = &*shape else {
            return Err(no_image(
                model,
                "an image has the shape [1, channels, height, width] or [1, height, width, channels]",
            ));
        };
        if batch.is_some_and(|batch| batch != 1) {
            let mend = "its number of images is fixed; a request is one image: export it with 1 image or with a dynamic \
                        first dimension";
            return Err(no_image(model, mend));
        }
        let is_channels = |size: Option<u64>| matches!(size, Some(1 | 3));
        let (is_nhwc, channels, height, width) = match (is_channels(a), is_channels(c)) {
            (true, false) => (false, a, b, c),
            (false, true) => (true, c, a, b),
            (true, true) => return Err(no_image(model, "both dimension 1 and dimension 3 could be the channels")),
            // Nothing is fixed, as in exports of transformers.
            (false, false) if a.is_none() && b.is_some() == c.is_some() => (false, None, b, c),
            (false, false) => return Err(no_image(model, "neither dimension 1 nor dimension 3 has 1 or 3 channels")),
        };
        let fits =
            |size: (u64, u64)| width.is_none_or(|fixed| fixed == size.0) && height.is_none_or(|fixed| fixed == size.1);
        let text = |size: Option<u64>| size.map_or("?".to_owned(), |size| size.to_string());
        let (width, height, size_source) = match (width, height, size, metadata_size(model)) {
            (width, height, Some(size), _) if !fits(size) => {
                return Err(Error::Failed(format!(
                    "the model fixes its input to {}x{}; leave out --size, or export the model again",
                    text(width),
                    text(height)
                )));
            }
            (Some(width), Some(height), ..) => (width, height, Some("fixed by the model")),
            (_, _, Some((width, height)), _) => (width, height, Some("--size")),
            (_, _, None, Some(size)) if fits(size) => (size.0, size.1, Some("the model's metadata `imgsz`")),
            (width, height, None, _) => (width.unwrap_or(fallback), height.unwrap_or(fallback), None),
        };
        Ok(Self {
            name: input.name.clone(),
            width,
            height,
            channels: channels.unwrap_or(3),
            is_nhwc,
            is_layout_assumed: channels.is_none(),
            ty,
            has_batch_axis: batch.is_none(),
            size_source,
        })
    }

    /// The shape of one image.
    pub(in crate::cli) fn shape(&self) -> Option<Vec<u32>> {
        let sizes = match self.is_nhwc {
            true => [1, self.height, self.width, self.channels],
            false => [1, self.channels, self.height, self.width],
        };
        sizes.into_iter().map(|size| u32::try_from(size).ok()).collect()
    }

    /// The settings of `image-preprocess` that follow from the input.
    pub(in crate::cli) fn settings(&self) -> Vec<Setting> {
        let pixels = |value: u64| toml::Value::Integer(value.try_into().unwrap_or(i64::MAX));
        let size = |key, value| match self.size_source {
            Some(source) => Setting::known(key, pixels(value), source),
            None => {
                let reason = "the model does not fix width and height; use the size with which it was trained";
                Setting::assumed(key, pixels(value), reason)
            }
        };
        let mut settings = vec![
            Setting::known("input", self.name.clone(), "the name of the model's input"),
            size("width", self.width),
            size("height", self.height),
        ];
        if self.is_nhwc {
            settings.push(Setting::known("layout", "nhwc", "the model's channels are the last dimension"));
        }
        if self.is_layout_assumed {
            let reason =
                "the model does not fix its channels; this is [1, 3, height, width], as models of PyTorch have it";
            settings.push(Setting::assumed("layout", "nchw", reason));
        }
        let dtype = match self.ty {
            TensorType::U8 => Some(("u8", "the model takes bytes")),
            TensorType::Fp16 => Some(("f16", "the model takes half precision")),
            TensorType::Bf16 => Some(("bf16", "the model takes bf16")),
            _ => None,
        };
        if let Some((dtype, reason)) = dtype {
            settings.push(Setting::known("dtype", dtype, reason));
        }
        if self.channels == 1 {
            settings.push(Setting::known("channels", "gray", "the model has one channel"));
        }
        settings
    }
}

/// The size in Ultralytics' metadata, `imgsz = "[height, width]"`, as width and height.
fn metadata_size(model: &Description) -> Option<(u64, u64)> {
    let text = model.metadata.get("imgsz")?;
    let mut numbers = text.trim_matches(['[', ']', '(', ')', ' ']).split(',').map(|number| number.trim().parse().ok());
    let height = numbers.next()??;
    let width = numbers.next().unwrap_or(Some(height))?;
    let is_size = |side: u64| (1..=MAX_SIDE).contains(&side);
    (numbers.next().is_none() && is_size(width) && is_size(height)).then_some((width, height))
}

fn no_image(model: &Description, why: &str) -> Error {
    let text = |input: &ValueDescription| {
        let size = |size: &Option<u64>| size.map_or("?".to_owned(), |size| size.to_string());
        let shape = input.shape.as_ref().map_or("any shape".to_owned(), |shape| {
            format!("[{}]", shape.iter().map(size).collect::<Vec<_>>().join(", "))
        });
        format!("`{}` ({} {shape})", input.name, input.element.unwrap_or("of an unknown type"))
    };
    let inputs: Vec<_> = model.inputs.iter().map(text).collect();
    Error::Failed(format!(
        "`plimsoll init` makes pipelines for models with one input that is an image, but this model has the inputs {}: {why}. \
         For other inputs write a preprocess plugin (`plimsoll plugin new NAME --kind preprocess`) and a `plimsoll.toml`",
        inputs.join(", ")
    ))
}
