//! The shape of the output.

use plimsoll_sdk::model::shape_text;
use postprocess_core::geometry::Geometry;

use crate::settings::{Layout, Settings};

/// The number of keypoints, then that of boxes, or the rows and columns of the maps; `None` if it is dynamic.
pub type Sizes<T> = [T; 3];

/// Reads the shape of the output. The last size is 1 for boxes.
///
/// # Errors
/// If it is not that of the layout, or does not suit the names of the keypoints. The message names the output.
pub fn sizes(settings: &Settings, output: &str, shape: &[Option<u32>]) -> Result<Sizes<Option<u32>>, String> {
    let can_be_one = |size: Option<u32>| size.is_none_or(|size| size == 1);
    let sizes = match (settings.layout, shape) {
        (_, &[image, ..]) if !can_be_one(image) => None,
        (Layout::Yolo, &[_, channels, boxes]) => {
            keypoints(settings, channels, 4 + settings.classes).map(|keypoints| [keypoints, boxes, Some(1)])
        }
        (Layout::EndToEnd, &[_, boxes, channels]) => {
            keypoints(settings, channels, 6).map(|keypoints| [keypoints, boxes, Some(1)])
        }
        (Layout::Heatmaps, &[_, keypoints, rows, columns]) => Some([keypoints, rows, columns]),
        _ => None,
    };
    let is_empty = |sizes: &Sizes<Option<u32>>| {
        sizes[0] == Some(0) || settings.layout == Layout::Heatmaps && sizes.contains(&Some(0))
    };
    let Some(sizes) = sizes.filter(|sizes| !is_empty(sizes)) else {
        let (classes, numbers) = (settings.classes, settings.dimensions);
        let expected = match settings.layout {
            Layout::Yolo => {
                format!("[1, 4 + {classes} + K * {numbers}, N] for `classes` {classes} and `dimensions` {numbers}")
            }
            Layout::EndToEnd => format!("[1, N, 6 + K * {numbers}] for `dimensions` {numbers}"),
            Layout::Heatmaps => "[1, K, H, W]".to_owned(),
        };
        return Err(format!(
            "output `{output}` has the shape {}, but the plugin expects {expected}: set the configuration key `layout` to \
             the form of this model, `classes` and `dimensions` to its numbers, or `output` to another output",
            shape_text(shape)
        ));
    };
    match (sizes[0], settings.keypoints()) {
        (Some(found), Some(names)) if found as usize != names => Err(format!(
            "output `{output}` has {found} keypoints, but the configured file of keypoints has {names} names: use the names \
             of this model, or set `layout`, `classes` and `dimensions` to its form"
        )),
        // Otherwise a model with the axes exchanged would be decoded.
        (Some(found), None) if settings.layout == Layout::Yolo && sizes[1].is_some_and(|n| n > 0 && n < found) => {
            Err(format!(
                "output `{output}` has {found} keypoints and fewer boxes than keypoints, so its axes seem to be exchanged \
                 (`yolo` is [1, 4 + C + K D, N], `end-to-end` is [1, N, 6 + K D]): set the key `layout`; if the layout is \
                 right, set `keypoints`"
            ))
        }
        _ => Ok(sizes),
    }
}

/// Checks that maps have the proportions of the model's input. Otherwise the keypoints of an output [1, H, W, K] would be read
/// as columns.
///
/// # Errors
/// If they have other proportions. The message names the output.
pub fn check_proportions(output: &str, geometry: &Geometry, [_, rows, columns]: Sizes<usize>) -> Result<(), String> {
    if geometry.is_covered_by(rows, columns) {
        return Ok(());
    }
    Err(format!(
        "output `{output}` has maps of {rows} rows and {columns} columns, but the model's input of {} x {} pixels has other \
         proportions, so its axes seem to be exchanged: export the model with maps of shape [1, K, H, W]",
        geometry.input_width, geometry.input_height
    ))
}

/// The number of keypoints in `channels` numbers after the first ones. `None` if it is not whole.
fn keypoints(settings: &Settings, channels: Option<u32>, first: usize) -> Option<Option<u32>> {
    let Some(channels) = channels else { return Some(None) };
    let rest = (channels as usize).checked_sub(first).filter(|rest| rest % settings.dimensions == 0)?;
    Some(Some((rest / settings.dimensions) as u32))
}
