//! Postprocess stage for segmentation: returns the class of each pixel, or the mask of each object.
//!
//! Configuration:
//! - `layout`: the form of the output. `nchw` (default): scores of shape `[1, C, H, W]`; `nhwc`: scores of shape
//!   `[1, H, W, C]`; `classes`: the model has already selected the classes, `[1, H, W]`, `[1, 1, H, W]` or `[1, H, W, 1]`
//!   with whole numbers; `yolo` and `end-to-end`: objects with masks, see below.
//! - `output`: the name of the tensor. Optional if the model has one output (default for objects: `output0`).
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
//! # Objects
//!
//! `yolo` is YOLOv8-seg and YOLO11-seg: the output `[1, 4 + C + M, N]` has N boxes as centre and size, the probabilities of C
//! classes and M coefficients, and the prototypes `[1, M, H, W]` are maps over the model's input. `end-to-end` is YOLO26-seg:
//! `[1, N, 6 + M]` as x1, y1, x2, y2, score, class and coefficients. Keys:
//! - `prototypes`: the name of the tensor with the prototypes (default `output1`).
//! - `coordinates`: `pixels` of the model's input (default) or `fractions` of it.
//! - `score_threshold` (default 0.25), `nms` (`per-class`, `class-agnostic` or `none`; default `per-class`, for `end-to-end`
//!   `none`), `iou_threshold` (default 0.7), `max_detections` (default 100): as for `detect-postprocess`.
//!
//! The mask of an object is the sum of the prototypes, each times its coefficient: a pixel belongs to the object if the sum is
//! over 0 (its sigmoid is over 0.5) and the pixel's left upper corner is in the box. With `size = "original"`, the sums are
//! interpolated between the centres of the prototypes' places (bilinear), at the centre of each pixel of the caller's image, as
//! by `process_mask_native` of Ultralytics (`retina_masks=True`), which however removes the border of `letterbox` in whole
//! places: edges of masks differ by less than one place. With `size = "model"` there is one pixel for each place, as by
//! `process_mask`. Reply, best object first, with the box of the detector:
//! - `rle` and `polygons`: `{"width":W,"height":H,"segments":[{"index":1,"label":"cat","score":0.9,"area":9,"box":[x1,y1,x2,y2],
//!   "rle":…}]}`. An object may have no pixels: its area is 0.
//! - `png`: the index of a pixel is the class of the best object that it belongs to, and 255 where no object is.
//!
//! # Errors
//!
//! These are errors (500): a score that is NaN or infinite, a class that is not a whole number from 0, a class without a
//! label; and for scores, a map whose proportions are not those of the model's input (except for one row or column, because
//! models round sizes), because `nchw` is then `nhwc` or the other way round; for objects, what `detect-postprocess` refuses,
//! and a mask whose sum is not finite. If the model declares its outputs, type,
//! shape and the number of labels are checked at deployment.

mod classes;
mod objects;
mod picture;
mod polygons;
mod prototypes;
mod raster;
mod rle;
mod settings;

use plimsoll_sdk::{Configured, Failure, Init, NamedTensor, Postprocess, Reply, Request, export_postprocess, model};
use postprocess_core::geometry::Geometry;
use postprocess_core::outputs;
use serde::Serialize;

use classes::Map;
use objects::Object;
use raster::{NO_CLASS, Raster};
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
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f32>,
    area: u64,
    r#box: Corners,
    #[serde(flatten)]
    form: Form,
}

/// x1, y1, x2, y2.
#[derive(Serialize)]
#[serde(untagged)]
enum Corners {
    /// Around all pixels.
    Pixels([u32; 4]),
    /// Of the detector.
    Detected([f32; 4]),
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
            if let Some(objects) = &settings.objects {
                objects::check(&settings, objects, &declared)?;
                return SETTINGS.set(settings);
            }
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
    if let Some(objects) = &settings.objects {
        let (found, size) = objects::read(settings, objects, tensors, &Geometry::parse(context)?)?;
        return reply_of_objects(settings, found, size);
    }
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
            ("application/json", json(&Answer { width, height, segments: segments(settings, &raster) })?)
        }
    };
    Ok(Reply { content_type: content_type.into(), body })
}

fn json(answer: &Answer) -> Result<Vec<u8>, String> {
    serde_json::to_vec(answer).map_err(|error| format!("the reply cannot be written: {error}"))
}

/// The reply for objects, in an image of this width and height.
fn reply_of_objects(settings: &Settings, found: Vec<Object>, [width, height]: [u32; 2]) -> Result<Reply, String> {
    if settings.format == Format::Png {
        let mut classes = vec![NO_CLASS; width as usize * height as usize];
        for object in &found {
            object.mask.paint(object.class as u16, &mut classes, width);
        }
        let map = Map { width: width as usize, height: height as usize, classes };
        return Ok(Reply { content_type: "image/png".into(), body: picture::png(&Raster::whole(map))? });
    }
    let segments = found.into_iter().map(|Object { class, score, r#box, mask }| {
        let area = mask.area();
        let raster = mask.raster([width, height]);
        let index = class as u16;
        let form = match settings.format {
            Format::Polygons => Form::Polygons(polygons::trace(&raster).remove(&0).unwrap_or_default()),
            _ => Form::Rle(rle::encode(&raster).remove(&0).unwrap_or_else(|| rle::nothing(&raster))),
        };
        Area { label: settings.label(index), index, score: Some(score), area, r#box: Corners::Detected(r#box), form }
    });
    let answer = Answer { width, height, segments: segments.collect() };
    Ok(Reply { content_type: "application/json".into(), body: json(&answer)? })
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
            score: None,
            area: extent.area,
            r#box: Corners::Pixels(extent.r#box),
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
