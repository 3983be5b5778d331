//! How the values of pixels, from 0 to 255, become the numbers of a model's input.

use clap::ValueEnum;

use super::image_input::ImageInput;
use super::setting::Setting;

/// A normalisation that many models share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Normalisation {
    /// Mean and standard deviation of ImageNet, as torchvision and timm.
    Imagenet,
    /// Mean and standard deviation of OpenAI's CLIP.
    Clip,
    /// From 0 to 1 (preset `yolo`).
    #[value(alias = "yolo")]
    Unit,
    /// From -1 to 1 (preset `tf` of Keras).
    #[value(alias = "tf")]
    Symmetric,
    /// Blue, green, red without their means (preset `caffe` of Keras).
    Caffe,
    /// From 0 to 255, unchanged.
    Raw,
}

impl Normalisation {
    /// The name on the command line.
    pub(in crate::cli) fn as_str(self) -> &'static str {
        match self {
            Self::Imagenet => "imagenet",
            Self::Clip => "clip",
            Self::Unit => "unit",
            Self::Symmetric => "symmetric",
            Self::Caffe => "caffe",
            Self::Raw => "raw",
        }
    }

    /// What it does.
    pub(in crate::cli) fn meaning(self) -> &'static str {
        match self {
            Self::Imagenet => "mean and standard deviation of ImageNet",
            Self::Clip => "mean and standard deviation of CLIP",
            Self::Unit => "0 to 1",
            Self::Symmetric => "-1 to 1",
            Self::Caffe => "blue, green, red without their means, as VGG and ResNet of Keras",
            Self::Raw => "0 to 255, unchanged",
        }
    }

    /// Mean and standard deviation in fractions of 255, in the order of the channels. `is_bgr`: blue is the first one.
    fn statistics(self, channels: u64, is_bgr: bool) -> Option<(Vec<f64>, Vec<f64>)> {
        let (mean, deviation) = match self {
            Self::Imagenet => (vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225]),
            Self::Clip => {
                (vec![0.481_454_66, 0.457_827_5, 0.408_210_73], vec![0.268_629_54, 0.261_302_58, 0.275_777_11])
            }
            Self::Unit => (vec![0.0], vec![1.0]),
            Self::Symmetric => (vec![0.5], vec![0.5]),
            Self::Caffe => ([103.939, 116.779, 123.68].map(|mean| mean / 255.0).to_vec(), vec![1.0 / 255.0]),
            Self::Raw => return None,
        };
        let in_order = |mut values: Vec<f64>| match values.len() {
            // For gray images, the mean over the three colours.
            3 if channels == 1 => vec![values.iter().sum::<f64>() / 3.0],
            3 if is_bgr != self.is_bgr() => {
                values.reverse();
                values
            }
            _ => values,
        };
        Some((in_order(mean), in_order(deviation)))
    }

    /// True if it is for the order blue, green, red.
    pub(in crate::cli) fn is_bgr(self) -> bool {
        self == Self::Caffe
    }

    /// The settings of `image-preprocess`. `is_bgr`: its channels are blue, green, red. `reason` says why this normalisation is
    /// used.
    pub(in crate::cli) fn settings(
        self,
        input: &ImageInput,
        is_bgr: bool,
        reason: &str,
        is_assumed: bool,
    ) -> Vec<Setting> {
        if input.is_u8() {
            return Vec::new();
        }
        let Some((mean, deviation)) = self.statistics(input.channels, is_bgr) else {
            let value = toml::Value::Float(1.0);
            let reason = format!("{}: {reason}", self.meaning());
            return vec![Setting { is_assumed, ..Setting::known("scale", value, reason) }];
        };
        let value = |values: Vec<f64>| match &*values {
            [value] => toml::Value::Float(*value),
            _ => values.into(),
        };
        let mean: Vec<f64> = mean.into_iter().map(|mean| rounded(mean * 255.0)).collect();
        let scale: Vec<f64> = deviation.into_iter().map(|deviation| 1.0 / (deviation * 255.0)).collect();
        let reason = format!("{}: {reason}", self.meaning());
        let mut settings = Vec::new();
        if mean.iter().any(|&mean| mean != 0.0) {
            settings.push(Setting { is_assumed, ..Setting::known("mean", value(mean), reason.clone()) });
        }
        settings.push(Setting { is_assumed, ..Setting::known("scale", value(scale), reason) });
        settings
    }
}

/// Without the digits that only binary fractions add.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}
