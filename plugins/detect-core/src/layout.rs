//! The layouts: the forms in which detectors return their boxes, by name. Each has the shapes of its outputs and the
//! defaults of the configuration.

use postprocess_core::boxes::Unit;

/// A size in the shape of an output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// This number.
    Fixed(u32),
    /// The number of boxes, N.
    Boxes,
    /// The number of classes, C, and this many more.
    Classes(u32),
    /// The number of rows of a grid, H.
    Rows,
    /// The number of columns of a grid, W.
    Columns,
}

/// An output that a layout reads.
pub struct Role {
    /// The configuration key with the name of the output.
    pub key: &'static str,
    /// The name if the key is not set. If it is empty, the model must have one output; for `count`, it has no such output.
    pub default: &'static str,
    /// The shape.
    pub shape: &'static [Size],
    /// True if integers are accepted, too: class indices and counts.
    pub integers: bool,
}

/// How the numbers of the outputs are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Probabilities of the classes, and corners.
    Decoded,
    /// Rows of a box, its objectness and the probabilities of the classes.
    Yolov5,
    /// Like `Yolov5`, but a single class has no probability of its own.
    Yolov7,
    /// Columns of a box and the probabilities of the classes.
    Yolov8,
    /// Rows of corners, probability and class.
    EndToEnd,
    /// Like `Yolov5`, but boxes are relative to the cells of grids.
    Yolox,
    /// Corners, classes and probabilities as separate outputs, and the number of valid rows.
    Ssd,
    /// Like `Ssd`, but with corners of the other order, and perhaps without the number of valid rows.
    Nms,
    /// Logits of a softmax whose last class is "no object", and boxes.
    Detr,
    /// Logits of independent classes, and boxes.
    RtDetr,
    /// Logits of independent classes, and differences from anchors.
    Retinanet,
    /// One box for each cell of one grid: objectness, box and the probabilities of the classes.
    Fastestdet,
}

/// A layout.
pub struct Layout {
    /// The name in the configuration.
    pub name: &'static str,
    /// How its numbers are read.
    pub kind: Kind,
    /// The outputs that it reads.
    pub outputs: &'static [Role],
    /// The unit of coordinates, if `coordinates` is not set.
    pub unit: Unit,
    /// The default of `score_threshold`.
    pub score_threshold: f32,
    /// The default of `iou_threshold`; `None` if the model suppresses overlapping boxes itself.
    pub iou_threshold: Option<f32>,
}

use Size::{Boxes, Classes, Columns, Fixed, Rows};

const fn role(key: &'static str, default: &'static str, shape: &'static [Size]) -> Role {
    Role { key, default, shape, integers: false }
}

const fn integers(key: &'static str, default: &'static str, shape: &'static [Size]) -> Role {
    Role { key, default, shape, integers: true }
}

const CORNERS: &[Size] = &[Fixed(1), Boxes, Fixed(4)];
const ROWS: &[Role] = &[role("output", "", &[Fixed(1), Boxes, Classes(5)])];

/// All layouts. The first one is the default.
pub const LAYOUTS: &[Layout] = &[
    Layout {
        name: "decoded",
        kind: Kind::Decoded,
        outputs: &[role("scores", "scores", &[Fixed(1), Boxes, Classes(0)]), role("boxes", "boxes", CORNERS)],
        unit: Unit::Fractions,
        score_threshold: 0.7,
        iou_threshold: Some(0.3),
    },
    Layout {
        name: "yolov5",
        kind: Kind::Yolov5,
        outputs: ROWS,
        unit: Unit::Pixels,
        score_threshold: 0.25,
        iou_threshold: Some(0.45),
    },
    Layout {
        name: "yolov7",
        kind: Kind::Yolov7,
        outputs: ROWS,
        unit: Unit::Pixels,
        score_threshold: 0.25,
        iou_threshold: Some(0.45),
    },
    Layout {
        name: "yolov8",
        kind: Kind::Yolov8,
        outputs: &[role("output", "", &[Fixed(1), Classes(4), Boxes])],
        unit: Unit::Pixels,
        score_threshold: 0.25,
        iou_threshold: Some(0.7),
    },
    Layout {
        name: "end-to-end",
        kind: Kind::EndToEnd,
        outputs: &[role("output", "", &[Fixed(1), Boxes, Fixed(6)])],
        unit: Unit::Pixels,
        score_threshold: 0.25,
        iou_threshold: None,
    },
    Layout {
        name: "yolox",
        kind: Kind::Yolox,
        outputs: ROWS,
        unit: Unit::Pixels,
        score_threshold: 0.3,
        iou_threshold: Some(0.45),
    },
    Layout {
        name: "ssd",
        kind: Kind::Ssd,
        outputs: &[
            role("scores", "detection_scores", &[Fixed(1), Boxes]),
            role("boxes", "detection_boxes", CORNERS),
            integers("classes", "detection_classes", &[Fixed(1), Boxes]),
            integers("count", "num_detections", &[Fixed(1)]),
        ],
        unit: Unit::Fractions,
        score_threshold: 0.5,
        iou_threshold: None,
    },
    Layout {
        name: "nms",
        kind: Kind::Nms,
        outputs: &[
            role("scores", "scores", &[Fixed(1), Boxes]),
            role("boxes", "boxes", CORNERS),
            integers("classes", "labels", &[Fixed(1), Boxes]),
            integers("count", "", &[Fixed(1)]),
        ],
        unit: Unit::Pixels,
        score_threshold: 0.25,
        iou_threshold: None,
    },
    Layout {
        name: "detr",
        kind: Kind::Detr,
        outputs: &[role("scores", "logits", &[Fixed(1), Boxes, Classes(1)]), role("boxes", "pred_boxes", CORNERS)],
        unit: Unit::Fractions,
        score_threshold: 0.5,
        iou_threshold: None,
    },
    Layout {
        name: "rt-detr",
        kind: Kind::RtDetr,
        outputs: &[role("scores", "logits", &[Fixed(1), Boxes, Classes(0)]), role("boxes", "pred_boxes", CORNERS)],
        unit: Unit::Fractions,
        score_threshold: 0.5,
        iou_threshold: None,
    },
    Layout {
        name: "retinanet",
        kind: Kind::Retinanet,
        outputs: &[
            role("scores", "cls_logits", &[Fixed(1), Boxes, Classes(0)]),
            role("boxes", "bbox_regression", CORNERS),
        ],
        unit: Unit::Pixels,
        score_threshold: 0.05,
        iou_threshold: Some(0.5),
    },
    Layout {
        name: "fastestdet",
        kind: Kind::Fastestdet,
        outputs: &[role("output", "", &[Fixed(1), Classes(5), Rows, Columns])],
        unit: Unit::Fractions,
        score_threshold: 0.25,
        iou_threshold: Some(0.45),
    },
];

impl Layout {
    /// The shapes of the outputs, for messages.
    pub fn shapes(&self) -> String {
        let shapes = self.outputs.iter().map(|output| {
            let sizes = output.shape.iter().map(|size| match size {
                Size::Fixed(number) => number.to_string(),
                Size::Boxes => "N".to_owned(),
                Size::Classes(0) => "C".to_owned(),
                Size::Classes(more) => format!("{more} + C"),
                Size::Rows => "H".to_owned(),
                Size::Columns => "W".to_owned(),
            });
            format!("`{}` of shape [{}]", output.key, sizes.collect::<Vec<_>>().join(", "))
        });
        shapes.collect::<Vec<_>>().join(", ")
    }
}
