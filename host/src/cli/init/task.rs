//! What a model does, and the postprocess plugin for it.

use super::image_input::ImageInput;
use super::normalisation::Normalisation;
use super::probe::Output;
use super::setting::Setting;
use super::values::Values;

/// What a model does.
#[derive(Debug, PartialEq)]
pub(in crate::cli) struct Task {
    /// What it is, for people.
    pub(in crate::cli) title: String,
    /// The postprocess plugin.
    pub(in crate::cli) plugin: &'static str,
    /// Its settings.
    pub(in crate::cli) settings: Vec<Setting>,
    /// The key of the setting that names the asset with the labels, and the number of labels if it is known; `None` if the
    /// plugin has no labels.
    pub(in crate::cli) labels: Option<(&'static str, Option<u64>)>,
    /// True if another task is possible.
    pub(in crate::cli) is_assumed: bool,
    /// The settings of `image-preprocess`, except normalisation.
    pub(in crate::cli) geometry: Vec<Setting>,
    /// The normalisation, and the reason for it.
    pub(in crate::cli) normalisation: (Normalisation, &'static str),
}

impl Task {
    /// A task for which there is no plugin: the outputs are returned as they are.
    pub(in crate::cli) fn as_they_are(what: &str, is_assumed: bool) -> Self {
        Self {
            title: format!("{what}: the outputs are returned as they are"),
            plugin: "tensors-postprocess",
            settings: Vec::new(),
            labels: None,
            is_assumed,
            geometry: Vec::new(),
            normalisation: (Normalisation::Unit, "nothing says how the model was trained"),
        }
    }

    /// Notes that the labels have the background, if so: then the first class is theirs. torchvision's list of COCO's classes begins
    /// with `__background__`.
    pub(in crate::cli) fn note_first_label(&mut self, labels: &[String]) {
        let is_background = |label: &String| label.trim_matches('_').eq_ignore_ascii_case("background");
        // `ssd` has the setting by default: 1.
        let is_ssd = self.settings.iter().any(|setting| setting.key == "layout" && setting.value == "\"ssd\"");
        let is_first = |setting: &Setting| setting.key == "first_class";
        if labels.first().is_some_and(is_background) && (is_ssd || self.settings.iter().any(is_first)) {
            self.settings.retain(|setting| !is_first(setting));
            self.settings.push(Setting::known("first_class", 0, "the first label is the background"));
        }
    }

    /// Adds what `image-preprocess` does by default, because the model does not say it either.
    pub(in crate::cli) fn with_defaults(mut self, input: &ImageInput) -> Self {
        let has = |key: &str| self.geometry.iter().any(|setting| setting.key == key);
        let (has_resize, has_channels) = (has("resize"), has("channels"));
        if !has_resize {
            let reason = "the aspect ratio is not kept; \"letterbox\" and \"crop\" keep it";
            self.geometry.push(Setting::assumed("resize", "stretch", reason));
        }
        if !has_channels && input.channels == 3 {
            let reason = "the order of the colours; \"bgr\" for many models that were trained with OpenCV";
            self.geometry.push(Setting::assumed("channels", "rgb", reason));
        }
        self
    }
}

/// The setting `scores` of a plugin that computes a softmax unless the model ends with it, or returned probabilities for the
/// bundled sample. Each wrong value is refused by the plugin as soon as scores do not suit it, except two scores.
pub(in crate::cli) fn scores(output: &Output, ready: &[&str]) -> Setting {
    if let Some(operator) = output.operator.as_deref().filter(|operator| ready.contains(operator)) {
        return Setting::known("scores", "ready", format!("the model ends with {operator}"));
    }
    let ends = format!("the model does not end with {}", ready.join(" or "));
    let (value, reason) = match output.values {
        Values::Distribution => (
            "ready",
            "but its scores of the bundled sample are from 0 to 1 with the sum 1, so they are taken for probabilities; \
             \"logits\" if they are not",
        ),
        Values::Fractions if output.is_named_logits() => (
            "logits",
            "its name says logits, and its scores of the bundled sample are from 0 to 1, with another sum than 1; \"ready\" if \
             they are probabilities",
        ),
        Values::Fractions => (
            "ready",
            "but its scores of the bundled sample are from 0 to 1, with another sum than 1, so they are taken for \
             probabilities of classes that do not exclude each other; \"logits\" if they are not",
        ),
        Values::Other => (
            "softmax",
            "and its scores of the bundled sample are not all from 0 to 1, so they are taken for logits of classes of which \
             one is right",
        ),
        Values::Unknown => {
            ("softmax", "so its scores are taken for logits of classes of which one is right; no image was tried")
        }
    };
    Setting::assumed("scores", value, format!("{ends}, {reason}"))
}
