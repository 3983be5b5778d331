//! Presets: the preprocessing that model cards name, as defaults of the other keys.

use image_core::{Channels, Layout, Mode};
use plimsoll_sdk::config;

/// The defaults of a preset.
pub(crate) struct Preset {
    /// The name.
    name: &'static str,
    /// How the image is fitted.
    pub(crate) mode: Mode,
    /// The width and the height, if the preset has a size.
    pub(crate) side: Option<u32>,
    /// True if the shorter side before the crop is 8/7 of the larger side of the input.
    has_margin: bool,
    /// The border of `letterbox`.
    pub(crate) pad: u8,
    /// The order of colours.
    pub(crate) channels: Channels,
    /// Where the channels are.
    pub(crate) layout: Layout,
    /// The means of red, green and blue.
    mean: [f32; 3],
    /// The factors of red, green and blue.
    scale: [f32; 3],
}

/// What a standard deviation, as a part of 255, is as a factor.
const fn factors(deviations: [f64; 3]) -> [f32; 3] {
    let [red, green, blue] = deviations;
    [(1.0 / (red * 255.0)) as f32, (1.0 / (green * 255.0)) as f32, (1.0 / (blue * 255.0)) as f32]
}

const fn means(parts: [f64; 3]) -> [f32; 3] {
    let [red, green, blue] = parts;
    [(red * 255.0) as f32, (green * 255.0) as f32, (blue * 255.0) as f32]
}

/// `ImageClassification` of torchvision (`torchvision/transforms/_presets.py`) with its defaults: `resize_size=256`,
/// `crop_size=224`.
const IMAGENET: Preset = Preset {
    name: "imagenet",
    mode: Mode::Crop,
    side: Some(224),
    has_margin: true,
    pad: 0,
    channels: Channels::Rgb,
    layout: Layout::Nchw,
    mean: means([0.485, 0.456, 0.406]),
    scale: factors([0.229, 0.224, 0.225]),
};

/// `_transform` of OpenAI's CLIP (`clip/clip.py`).
const CLIP: Preset = Preset {
    name: "clip",
    has_margin: false,
    mean: means([0.481_454_66, 0.457_827_5, 0.408_210_73]),
    scale: factors([0.268_629_54, 0.261_302_58, 0.275_777_11]),
    ..IMAGENET
};

/// `LetterBox` and `BasePredictor.preprocess` of Ultralytics.
const YOLO: Preset = Preset {
    name: "yolo",
    mode: Mode::Letterbox,
    side: Some(640),
    has_margin: false,
    pad: 114,
    mean: [0.0; 3],
    scale: factors([1.0; 3]),
    ..IMAGENET
};

/// `preprocess_input` of Keras with `mode="tf"` (`keras/src/applications/imagenet_utils.py`).
const TF: Preset = Preset {
    name: "tf",
    mode: Mode::Stretch,
    side: None,
    has_margin: false,
    layout: Layout::Nhwc,
    mean: [127.5; 3],
    scale: factors([0.5; 3]),
    ..IMAGENET
};

/// The same with `mode="caffe"`.
const CAFFE: Preset =
    Preset { name: "caffe", channels: Channels::Bgr, mean: [123.68, 116.779, 103.939], scale: [1.0; 3], ..TF };

impl Preset {
    /// The preset that the key `preset` names, if it is set.
    ///
    /// # Errors
    /// If there is no such preset. The message lists them.
    pub(crate) fn read() -> Result<Option<&'static Preset>, String> {
        let presets = [&IMAGENET, &CLIP, &YOLO, &TF, &CAFFE].map(|preset| (preset.name, preset));
        config::get("preset").map(|_| config::choice("preset", &presets)).transpose()
    }

    /// The length of the shorter side before the crop, for an input whose larger side is `side`. `None` if it is the smallest
    /// one that covers the input.
    pub(crate) fn shorter(&self, side: u32) -> Option<u32> {
        self.has_margin.then(|| (side * 8 + 3) / 7)
    }

    /// The means and the factors in the order of the channels.
    ///
    /// # Errors
    /// If there is one channel, and the colours have different ones.
    pub(crate) fn normalisation(&self, channels: Channels) -> Result<[[f32; 3]; 2], String> {
        let [mean, scale] = [self.mean, self.scale];
        let is_equal = |numbers: [f32; 3]| numbers == [numbers[0]; 3];
        match channels {
            Channels::Rgb => Ok([mean, scale]),
            Channels::Bgr => Ok([mean, scale].map(|[red, green, blue]| [blue, green, red])),
            Channels::Gray if is_equal(mean) && is_equal(scale) => Ok([mean, scale]),
            Channels::Gray => Err(format!(
                "configuration key `preset`: `{}` has numbers for three colours, but `channels` is `gray`: set `mean` and \
                 `scale` instead of the preset",
                self.name
            )),
        }
    }

    /// The name.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_of_imagenet_is_that_of_torchvision() {
        // The sizes of the weights of torchvision that keep this ratio.
        for (side, shorter) in [(224, 256), (112, 128), (299, 342)] {
            assert_eq!(IMAGENET.shorter(side), Some(shorter));
        }
        assert_eq!(CLIP.shorter(224), None);
    }

    #[test]
    fn colours_keep_their_numbers_in_the_other_order() {
        assert_eq!(CAFFE.normalisation(Channels::Bgr).expect("three")[0], [103.939, 116.779, 123.68]);
        assert_eq!(CAFFE.normalisation(Channels::Rgb).expect("three")[0], [123.68, 116.779, 103.939]);
        assert!(CAFFE.normalisation(Channels::Gray).is_err_and(|message| message.contains("`mean` and `scale`")));
        assert_eq!(TF.normalisation(Channels::Gray).expect("one")[0], [127.5; 3]);
    }
}
