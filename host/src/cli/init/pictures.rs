//! Recognises models whose only output is a picture: depth maps, and images that are larger than the input.

use super::image_input::ImageInput;
use super::normalisation::Normalisation;
use super::probe::Output;
use super::setting::Setting;
use super::single_output::torchvision;
use super::task::Task;
use super::values::is_float_type;

/// The names of depth maps.
const DEPTH: &[&str] = &["depth", "disparity"];

/// A depth map: its name distinguishes it from scores of pixels.
pub(in crate::cli) fn depth(input: &ImageInput, output: &Output) -> Option<Task> {
    let is_map = matches!(*output.shape, [1, height, width] | [1, 1, height, width] if height > 1 && width > 1);
    if !is_map || !is_float_type(output.ty) || !output.is_named(DEPTH) {
        return None;
    }
    let reason = "the least and the greatest number of each image become black and white; use the plugin tensors-postprocess \
                  for the numbers";
    Some(Task {
        title: "depth map".into(),
        plugin: "image-postprocess",
        settings: vec![Setting::assumed("range", "image", reason)],
        labels: None,
        is_assumed: true,
        geometry: Vec::new(),
        normalisation: torchvision(input),
    })
}

/// Super-resolution: an image with more pixels than the input. Scores of pixels never have more.
pub(in crate::cli) fn larger_image(input: &ImageInput, output: &Output) -> Option<Task> {
    let &[1, a, b, c] = &*output.shape else { return None };
    let is_larger = |height: u64, width: u64| height > input.height && height * input.width == width * input.height;
    let is_channels = |size: u64| size == input.channels;
    let layout = match (is_channels(a) && is_larger(b, c), is_channels(c) && is_larger(a, b)) {
        (true, false) => "nchw",
        (false, true) => "nhwc",
        _ => return None,
    };
    if !is_float_type(output.ty) {
        return None;
    }
    let reason = "the numbers of black and white; the plugin refuses numbers that are far outside of them";
    let mut settings = vec![
        Setting::known("layout", layout, "the shape of the output"),
        Setting::assumed("range", vec![0_i64, 1], reason),
    ];
    if input.channels == 3 {
        settings.push(Setting::assumed("channels", "rgb", "the order of the colours in the output"));
    }
    Some(Task {
        title: "an image that is larger than the input".into(),
        plugin: "image-postprocess",
        settings,
        labels: None,
        is_assumed: true,
        geometry: Vec::new(),
        normalisation: (Normalisation::Unit, "usual for super-resolution"),
    })
}
