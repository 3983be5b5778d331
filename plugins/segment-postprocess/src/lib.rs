//! Postprocess stage for semantic segmentation: returns the class of each pixel.
//!
//! Configuration:
//! - `layout`: the form of the output. `nchw` (default): scores of shape `[1, C, H, W]`; `nhwc`: scores of shape
//!   `[1, H, W, C]`; `classes`: the model has already selected the classes, `[1, H, W]`, `[1, 1, H, W]` or `[1, H, W, 1]`
//!   with whole numbers.
//! - `output`: the name of the tensor. Optional if the model has one output.
//! - `threshold`: for scores with a single channel, and only for them: a pixel has class 1 if its score is greater, else
//!   class 0. For probabilities 0.5 is usual, for logits 0.
//! - `format`: `png` (default), `rle` or `polygons`; see below.
//! - `size`: `original` (default): the map has the size of the caller's image after its orientation was applied; a pixel
//!   has the class of the place in the model's output in which its centre lies. `model`: the map of the model's output.
//! - `background_class`: for `rle` and `polygons`, the class that is left out (default 0; -1 if there is none).
//! - `labels`: for `rle` and `polygons`, the asset with one label per line. Without it, the label is the class index as
//!   text.
//!
//! The class is the greatest score, of equal scores the first one (`numpy.argmax`). The classes are enlarged, not the
//! scores: torchvision and others interpolate the scores to the size of the image first, so that their edges between
//! classes are smoother and differ by less than one place of the model's output. With `size = "original"` the preprocess
//! stage must be `image-preprocess` or write the same context. If it crops the image, pixels outside of the crop have no
//! class: 255 in a PNG (as "void" of PASCAL VOC), in no segment otherwise.
//!
//! - `png`: an image with a palette; its index is the class, and the colours are those of PASCAL VOC. At most 255 classes.
//! - `rle`: `{"width":W,"height":H,"segments":[{"index":1,"label":"cat","area":9,"box":[x1,y1,x2,y2],
//!   "rle":{"size":[H,W],"counts":"…"}}]}`, one segment for each class, by index. `counts` is the compressed form of COCO
//!   (`pycocotools.mask.decode`).
//! - `polygons`: the same with `"polygons":[[x,y,x,y,…],…]` instead of `rle`: the outlines along the edges of pixels, outer
//!   ones clockwise, holes counter-clockwise, so that the even-odd rule gives exactly the pixels.
//!
//! These are errors (500): a score that is NaN or infinite, a class that is not a whole number from 0, a class without a
//! label; and for scores, a map whose proportions are not those of the model's input (except for one row or column, because
//! models round sizes), because `nchw` is then `nhwc` or the other way round. If the model declares its outputs, type,
//! shape and the number of labels are checked at deployment.

mod classes;
mod picture;
mod polygons;
mod raster;
mod rle;
mod settings;

use plimsoll_sdk::{Configured, Failure, Init, NamedTensor, Postprocess, Reply, Request, export_postprocess, model};
use postprocess_core::geometry::Geometry;
use postprocess_core::outputs;
use serde::Serialize;

use classes::Map;
use raster::Raster;
use settings::{Format, Layout, Settings};

struct Segment;

export_postprocess!(Segment with init);

static SETTINGS: Configured<Settings> = Configured::new();

#[derive(Serialize)]
struct Answer {
    width: u32,
    height: u32,
    segments: Vec<Area>,
}

/// The pixels of a class.
#[derive(Serialize)]
struct Area {
    label: String,
    index: u16,
    area: u64,
    /// x1, y1, x2, y2 around all pixels.
    r#box: [u32; 4],
    #[serde(flatten)]
    form: Form,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    Rle(rle::Rle),
    Polygons(Vec<Vec<u32>>),
}

impl Init for Segment {
    fn init() -> Result<(), String> {
        let settings = Settings::read()?;
        if let Some(declared) = model::outputs()? {
            let output = outputs::declared(&declared, "output", &settings.output, classes::types(settings.layout))?;
            if let Some(shape) = &output.shape {
                classes::sizes(&settings, &output.name, shape)?;
            }
        }
        SETTINGS.set(settings)
    }
}

impl Postprocess for Segment {
    fn run(_request: Request, outputs: Vec<NamedTensor>, context: Vec<u8>) -> Result<Reply, Failure> {
        let settings = SETTINGS.get()?;
        reply(settings, &outputs, &context).map_err(Failure::Internal)
    }
}

fn reply(settings: &Settings, tensors: &[NamedTensor], context: &[u8]) -> Result<Reply, String> {
    let (name, tensor) = outputs::find(tensors, &settings.output)?;
    let map = classes::read(settings, name, tensor)?;
    let geometry = Geometry::parse(context);
    if let Ok(geometry) = &geometry
        && settings.layout != Layout::Classes
    {
        check_proportions(name, &map, geometry)?;
    }
    let raster = match settings.is_original {
        true => Raster::original(map, &geometry?),
        false => Raster::whole(map),
    };
    let (content_type, body) = match settings.format {
        Format::Png => ("image/png", picture::png(&raster)?),
        Format::Rle | Format::Polygons => {
            let (width, height) = raster.size();
            let answer = Answer { width, height, segments: segments(settings, &raster) };
            let text = serde_json::to_vec(&answer).map_err(|error| format!("the reply cannot be written: {error}"))?;
            ("application/json", text)
        }
    };
    Ok(Reply { content_type: content_type.into(), body })
}

/// Checks that the map has the proportions of the model's input. Otherwise the classes of an output with the other order of
/// axes would be read as columns or rows.
fn check_proportions(name: &str, map: &Map, geometry: &Geometry) -> Result<(), String> {
    if geometry.is_covered_by(map.height, map.width) {
        return Ok(());
    }
    Err(format!(
        "output `{name}`: the map has {} rows and {} columns, but the model's input of {} x {} pixels has other proportions, so \
         the axes of the output seem to be exchanged: set the configuration key `layout` to the form of this output",
        map.height, map.width, geometry.input_width, geometry.input_height
    ))
}

/// The segments of all classes, by index.
fn segments(settings: &Settings, raster: &Raster) -> Vec<Area> {
    let extents = raster.extents();
    let mut runs = if matches!(settings.format, Format::Rle) { rle::encode(raster) } else { Default::default() };
    let mut rings =
        if matches!(settings.format, Format::Polygons) { polygons::trace(raster) } else { Default::default() };
    let reported = extents.into_iter().filter(|(class, _)| Some(*class) != settings.background);
    reported
        .map(|(index, extent)| Area {
            label: settings.label(index),
            index,
            area: extent.area,
            r#box: extent.r#box,
            form: match settings.format {
                Format::Polygons => Form::Polygons(rings.remove(&index).unwrap_or_default()),
                _ => Form::Rle(runs.remove(&index).unwrap_or_default()),
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_with_exchanged_axes_is_refused() {
        let context = r#"{"width":512,"height":512,"input_width":512,"input_height":512,"scale_x":1,"scale_y":1,
                          "offset_x":0,"offset_y":0}"#;
        let geometry = Geometry::parse(context.as_bytes()).expect("a context");
        let map = |width| Map { width, height: 128, classes: Vec::new() };
        assert_eq!(check_proportions("o", &map(128), &geometry), Ok(()));
        // [1, 128, 128, 21], read as 128 classes.
        let message = check_proportions("o", &map(21), &geometry).expect_err("exchanged");
        assert!(message.contains("`o`") && message.contains("set the configuration key `layout`"), "{message}");
    }
}
