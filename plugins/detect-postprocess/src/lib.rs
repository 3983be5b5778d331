//! Postprocess stage for detectors: converts the outputs of a model to boxes in pixels of the caller's image.
//!
//! Reply: `{"width":W,"height":H,"detections":[{"label":"face","index":1,"score":0.99,"box":[x1,y1,x2,y2]}]}`,
//! best first. Width, height and boxes are in pixels of the caller's image after its orientation was applied; the
//! boxes are clamped to the image. The preprocess stage must be `image-preprocess` or write the same context.
//!
//! `layout` is the form of the model's outputs. N is the number of boxes, C the number of classes:
//!
//! | layout | outputs | for example | source |
//! | --- | --- | --- | --- |
//! | `decoded` (default) | `scores` [1, N, C], `boxes` [1, N, 4] as x1, y1, x2, y2 in fractions | UltraFace | its `predict` |
//! | `yolov5` | [1, N, 5 + C]: centre, size, objectness, classes | YOLOv5 | `non_max_suppression` of YOLOv5 |
//! | `yolov7` | the same; if there is a single class, its probability is not read, because YOLOv7 does not train it | YOLOv7 | `non_max_suppression` of YOLOv7 |
//! | `yolov8` | [1, 4 + C, N]: centre, size, classes | YOLOv8, v9, v11, v12 | `non_max_suppression` of Ultralytics |
//! | `end-to-end` | [1, N, 6]: x1, y1, x2, y2, score, class | YOLOv10, YOLO26 | the same, `end2end` |
//! | `yolox` | [1, N, 5 + C], relative to the cells of grids | YOLOX without `decode_in_inference` | `demo_postprocess` and `postprocess` of YOLOX |
//! | `ssd` | `scores` [1, N], `boxes` [1, N, 4] as y1, x1, y2, x2 in fractions, `classes` [1, N], `count` [1] | SSD, EfficientDet | TensorFlow Object Detection API |
//! | `nms` | `scores` [1, N], `boxes` [1, N, 4] as x1, y1, x2, y2 in pixels, `classes` [1, N], perhaps `count` [1]; also without the first dimension | models with suppression inside: Faster R-CNN and others of torchvision, YOLO with EfficientNMS | `postprocess_detections` of torchvision, `EfficientNMS_TRT` of TensorRT |
//! | `detr` | `scores` [1, N, C + 1] as logits of a softmax, the last one "no object"; `boxes` [1, N, 4] as centre and size in fractions | DETR | `post_process_object_detection` of transformers |
//! | `rt-detr` | `scores` [1, N, C] as logits of sigmoids, `boxes` as for `detr` | RT-DETR, Deformable DETR | the same, of RT-DETR |
//! | `retinanet` | `scores` [1, N, C] as logits of sigmoids, `boxes` [1, N, 4] as differences from anchors | RetinaNet of torchvision, exported without its own postprocessing | `AnchorGenerator`, `BoxCoder` and `postprocess_detections` of torchvision |
//! | `fastestdet` | [1, 5 + C, H, W]: objectness, box, classes of each cell | FastestDet | its `handle_preds` |
//!
//! Configuration:
//! - `layout`: see above.
//! - `output`, or `scores`, `boxes`, `classes` and `count`: the names of the outputs that the layout reads. `output` is
//!   optional if the model has one output. The others are by default `scores` and `boxes`, for `detr` and `rt-detr`
//!   `logits` and `pred_boxes`, for `retinanet` `cls_logits` and `bbox_regression`, for `ssd` `detection_scores`,
//!   `detection_boxes`, `detection_classes` and `num_detections`, for `nms` `scores`, `boxes` and `labels`. `count = ""` (the
//!   default of `nms`): the model has no such output, and all rows are valid.
//! - `coordinates`: `pixels` of the model's input or `fractions` of it (default: `pixels` for `yolov5`, `yolov7`, `yolov8`,
//!   `end-to-end` and `nms`, otherwise `fractions`; `yolox`, `retinanet` and `fastestdet` have no choice).
//! - `score_threshold`: a box is reported only if its score is greater (default 0.7 for `decoded`, 0.25 for `yolov5`,
//!   `yolov7`, `yolov8`, `end-to-end`, `nms` and `fastestdet`, 0.3 for `yolox`, 0.05 for `retinanet`, 0.5 for the others). For
//!   `yolov5`, `yolov7` and `yolox` the score is objectness times probability, for `fastestdet` objectness^0.6 times
//!   probability^0.4. For `yolov5` and `yolov7` the objectness alone must be greater, too.
//! - `nms`: what happens to boxes that overlap a better one: `per-class` (they are dropped if they are of the same
//!   class), `class-agnostic` (of any class), `soft` (the score is reduced, see `soft_sigma`) or `none`. Default:
//!   `none` for `end-to-end`, `ssd`, `nms`, `detr` and `rt-detr`, whose models do it themselves; otherwise `per-class`.
//! - `iou_threshold`: two boxes overlap if their intersection over union is greater (default 0.3 for `decoded`, 0.45 for
//!   `yolov5`, `yolov7`, `yolox` and `fastestdet`, 0.7 for `yolov8`, 0.5 for the others).
//! - `soft_sigma`: for `nms = "soft"`, with boxes of the same class: a score is multiplied by exp(-overlap² / sigma) for
//!   each better box (default 0.5; Bodla et al., "Soft-NMS", ICCV 2017).
//! - `multi_label`: `true` reports a box for each class over the threshold, `false` only for its best class (default
//!   `true` for `decoded`, `false` for `yolov5`, `yolov7`, `yolov8` and `yolox`; not for the others: `rt-detr` and `retinanet`
//!   always report each class).
//! - `background_class`: for `decoded`, the index of the class that means "no object" (default 0; -1 if the model has
//!   none).
//! - `first_class`: for `end-to-end`, `ssd` and `nms`, the class index of the first label (default 0, for `ssd` 1; torchvision's
//!   models have 1, because 0 is the background). The reply's
//!   `index` is that of the label, from 0.
//! - `strides`: for `yolox` and `retinanet`, the pixels of the cells of their grids (default 8, 16 and 32, for `retinanet`
//!   also 64 and 128).
//! - `anchor_sizes`: for `retinanet`, the sizes of the anchors in pixels, of the first grid first, equally many for each
//!   grid (default 32, 40, 50, 64, 80, 101, 128, 161, 203, 256, 322, 406, 512, 645, 812).
//! - `anchor_ratios`: for `retinanet`, the height of an anchor divided by its width (default 0.5, 1 and 2).
//! - `max_per_class`, `max_detections`: the maximum number of detections of a class (default: no limit), and of a reply
//!   (default 100), at least 1. `max_detections` is at most 10,000, with `nms = "soft"` at most 1,000, because the time grows with
//!   this number times that of the boxes; with `nms = "none"` there is no maximum.
//! - `labels`: the asset with one label per line. Without it, the label is the class index as text.
//!
//! Items: with `items = true` and `gather = true` at the step, the detections of all items (tiles of `crop-transform`) are merged
//! in the picture's coordinates. Each item is read as above. Then boxes of all items are taken best first, and a box that
//! overlaps a better one of its class (of any class with `nms = "class-agnostic"`) is dropped, as by `nms` of SAHI. The limits
//! `max_per_class` and `max_detections` hold for each item, and for the reply. Keys:
//! - `merge_metric`: how overlap is measured: `smaller` (default; the intersection over the area of the smaller box, so that the
//!   part of an object that a tile cuts off is dropped beside the whole object) or `union`.
//! - `merge_threshold`: the overlap is greater than this (default 0.5).
//!
//! With `partial = true` at the step that makes the items, the reply has a member `failed`, if items failed:
//! `[{"item":3,"step":"detect","outcome":"trap","message":"…"}]`. What these tiles show is not among the detections.
//!
//! The sources were read and compared; the differences are:
//! - Overlap and soft scores are computed in f64, without the pixel that some of them add to each side (`nms` of
//!   `demo_utils.py` in YOLOX, `cpu_soft_nms`), without the 0.00001 that UltraFace adds to the union, and without moving
//!   boxes of other classes far away (`max_wh` of YOLOv5). Boxes without area overlap with none.
//! - A score that is equal to the threshold is not reported; `postprocess` of YOLOX reports it.
//! - All boxes over the threshold are candidates. UltraFace takes the 200 best of a class, torchvision's RetinaNet the
//!   1000 best of a grid, YOLOv5 to v11 the 30000 best. RT-DETR returns its 300 best: set `max_detections`.
//! - `max_detections` is 300 in most sources. Boxes that lie outside of the image count towards it, as there, but are not
//!   reported.
//! - Boxes return to the original by the resizing that `image-preprocess` did, whose sides are whole pixels. `scale_boxes`
//!   uses one factor for both sides, which differs by at most half a pixel of the input, and in YOLOv5 by one pixel.
//! - `retinanet` is torchvision's. The anchors of detectron2 are not rounded and have another order, those of
//!   keras-retinanet are in the centres of the cells and are moved by their corners: such models need another plugin.
//!
//! Of equal scores, the lower class comes first, then the first box. A model that returns what cannot be right is an
//! error (500): a number that is NaN or infinite or a probability outside of 0 to 1, also in boxes that would not be
//! reported; in boxes over the threshold, corners that are exchanged or far outside of the input, and a class without a
//! label; with `coordinates = "pixels"`, boxes that are all within 2 pixels of the left upper corner of the input, because
//! these are fractions (TFLite exports of Ultralytics and YOLOv5 return them). If the model declares its outputs, their types
//! and shapes and the number of labels are checked at deployment.
//!
//! What cannot be seen from the outputs, and is to be compared with the project of the model: `ssd` with corners in the order
//! x1, y1, x2, y2 (exports that are not of TensorFlow: `nms`), and `nms` with TensorFlow's order; a file of 80 labels for the 90 indices of COCO that TensorFlow uses,
//! which have gaps; `decoded` without a background class, of which class 0 is not reported unless `background_class` is -1;
//! and `yolov5` without `labels` for an output [1, N, 4 + C], whose class 0 is read as the objectness.

mod gathered;

use detect_core::{KEYS, Settings, check, select_boxes};
use plimsoll_sdk::{
    Configured, Failure, Init, NamedTensor, Postprocess, Reply, Request, config, export_postprocess, model,
};
use postprocess_core::boxes;
use postprocess_core::geometry::Geometry;
use postprocess_core::merge::Merge;
use postprocess_core::select::Found;
use serde::Serialize;

use gathered::{FailedItem, Merged};

struct Detect;

export_postprocess!(Detect with init);

/// The configuration, read once by `init` and used by every request.
struct Configuration {
    detect: Settings,
    /// How the detections of gathered items are merged; `None` if the step does not gather items.
    merge: Option<Merge>,
}

static SETTINGS: Configured<Configuration> = Configured::new();

#[derive(Serialize)]
struct Answer {
    width: u32,
    height: u32,
    detections: Vec<Detection>,
    /// Items that failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed: Vec<FailedItem>,
}

#[derive(Serialize)]
struct Detection {
    label: String,
    index: usize,
    score: f32,
    r#box: [f32; 4],
}

impl Init for Detect {
    fn init() -> Result<(), String> {
        config::only(&[KEYS, &gathered::KEYS].concat())?;
        let detect = Settings::read("layout")?;
        let merge = gathered::read(&detect.rule)?;
        if let Some(outputs) = model::outputs()? {
            check::declared(&outputs, &detect, None)?;
        }
        SETTINGS.set(Configuration { detect, merge })
    }
}

impl Postprocess for Detect {
    fn run(_request: Request, outputs: Vec<NamedTensor>, context: Vec<u8>) -> Result<Reply, Failure> {
        let Configuration { detect, merge } = SETTINGS.get()?;
        let answer = match merge {
            Some(rule) => {
                let Merged { size: [width, height], found, failed } =
                    gathered::detections(detect, rule, outputs, &context)?;
                let detections = found.into_iter().map(|found| detection(detect, found.r#box, &found)).collect();
                Answer { width, height, detections, failed }
            }
            None => {
                let geometry = Geometry::parse(&context).map_err(Failure::Internal)?;
                let found = select_boxes(detect, &geometry, &outputs, None).map_err(Failure::Internal)?;
                let original = |found: Found<()>| {
                    let corners = boxes::to_original(&geometry, found.r#box, detect.unit)?;
                    Some(detection(detect, corners, &found))
                };
                let detections = found.into_iter().filter_map(original).collect();
                Answer { width: geometry.width, height: geometry.height, detections, failed: Vec::new() }
            }
        };
        let body = serde_json::to_vec(&answer)
            .map_err(|error| Failure::Internal(format!("the reply cannot be serialised: {error}")))?;
        Ok(Reply { content_type: "application/json".into(), body })
    }
}

/// A detection with these corners in pixels of the caller's image.
fn detection(settings: &Settings, r#box: [f32; 4], found: &Found<()>) -> Detection {
    let label = match &settings.labels {
        Some(labels) => labels[found.class].clone(),
        None => found.class.to_string(),
    };
    Detection { label, index: found.class, score: found.score, r#box }
}
