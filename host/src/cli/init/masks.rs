//! Recognises the segmentation models of Ultralytics: boxes with coefficients, and prototypes of masks.

use super::normalisation::Normalisation;
use super::probe::Output;
use super::setting::Setting;
use super::task::Task;
use super::values::is_float_type;

/// The task of a model whose metadata says that it segments objects. Returns `None` if its outputs have another form.
pub(in crate::cli) fn masks(outputs: &[Output]) -> Option<Task> {
    let [a, b] = outputs else { return None };
    pair(a, b).or_else(|| pair(b, a))
}

fn pair(rows: &Output, maps: &Output) -> Option<Task> {
    let &[1, masks, height, width] = &*maps.shape else { return None };
    if !(is_float_type(rows.ty) && is_float_type(maps.ty)) {
        return None;
    }
    let (layout, classes) = match *rows.shape {
        [1, numbers, boxes] if boxes > numbers && numbers > masks + 4 => ("yolo", Some(numbers - masks - 4)),
        [1, _, numbers] if numbers == masks + 6 => ("end-to-end", None),
        _ => return None,
    };
    let source = "as YOLO-seg is trained";
    let reason = format!("{masks} prototypes of {width} x {height}, from the shapes of the outputs");
    let settings = vec![
        Setting::known("layout", layout, reason),
        Setting::known("output", rows.name.clone(), "the output with the boxes"),
        Setting::known("prototypes", maps.name.clone(), "the output with the prototypes"),
        Setting::known("format", "rle", "each object with its label; or \"polygons\"; \"png\" is one image of all"),
    ];
    Some(Task {
        title: match classes {
            Some(classes) => format!("masks of objects ({classes} classes)"),
            None => "masks of objects".to_owned(),
        },
        plugin: "segment-postprocess",
        settings,
        labels: Some(("labels", classes)),
        is_assumed: false,
        geometry: vec![Setting::assumed("resize", "letterbox", source), Setting::assumed("pad", 114, source)],
        normalisation: (Normalisation::Unit, source),
    })
}
