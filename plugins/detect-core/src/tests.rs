//! Numbers of outputs that are decoded without a model.

use postprocess_core::boxes::Unit;
use postprocess_core::geometry::Geometry;

use crate::check::{Sizes, kept};
use crate::decode::{Numbers, decode};
use crate::layout::LAYOUTS;
use crate::settings::Settings;

const SIDE: f32 = 640.0;

fn geometry() -> Geometry {
    let context = r#"{"width":1280,"height":720,"input_width":640,"input_height":640,"scale_x":0.5,"scale_y":0.5,
                      "offset_x":0,"offset_y":140}"#;
    Geometry::parse(context.as_bytes()).expect("a context")
}

/// Decodes two boxes of a layout, the second one below the threshold. `score` is that of the first one.
fn decoded(layout: &str, unit: Unit, score: f32, side: f32) -> Result<usize, String> {
    let layout = LAYOUTS.iter().find(|it| it.name == layout).expect("a layout");
    // Centre and size, or corners.
    let boxes = [[0.5, 0.5, 0.5, 0.6].map(|number| number * side), [0.25, 0.25, 0.5, 0.5].map(|number| number * side)];
    let flat = boxes.as_flattened().to_vec();
    let numbers = |name, values| Numbers { name, values };
    let logit = |score: f32| (score / (1.0 - score)).ln();
    let outputs = match layout.name {
        "decoded" => vec![numbers("scores", vec![score, 0.01]), numbers("boxes", flat)],
        "yolov5" | "yolov7" => {
            vec![numbers("o", [boxes[0].to_vec(), vec![score, 1.0], boxes[1].to_vec(), vec![0.01, 1.0]].concat())]
        }
        "yolov8" => {
            let rows = (0..4).flat_map(|place| [boxes[0][place], boxes[1][place]]);
            vec![numbers("o", rows.chain([score, 0.01]).collect())]
        }
        "end-to-end" => {
            vec![numbers("o", [boxes[0].to_vec(), vec![score, 7.0], boxes[1].to_vec(), vec![0.01, 80.0]].concat())]
        }
        "ssd" | "nms" => {
            vec![numbers("scores", vec![score, 0.01]), numbers("boxes", flat), numbers("classes", vec![1.0; 2])]
        }
        "detr" => vec![numbers("logits", vec![logit(score), 0.0, -9.0, 0.0]), numbers("boxes", flat)],
        _ => vec![numbers("logits", vec![logit(score), -9.0]), numbers("boxes", flat)],
    };
    let sizes = Sizes { boxes: Some(2), classes: Some(1), grid: [None; 2] };
    decode(&Settings::of(layout, unit), &geometry(), &outputs, sizes).map(|found| found.len())
}

#[test]
fn fractions_that_are_configured_as_pixels_are_refused_in_each_layout() {
    for layout in ["decoded", "yolov5", "yolov7", "yolov8", "end-to-end", "ssd", "nms", "detr", "rt-detr"] {
        let message = decoded(layout, Unit::Pixels, 0.9, 1.0).expect_err(layout);
        assert!(message.contains("the model returns fractions"), "{layout}: {message}");
        assert!(message.contains("`coordinates` to `fractions`"), "{layout}: {message}");
        assert_eq!(decoded(layout, Unit::Pixels, 0.9, SIDE), Ok(1), "{layout}");
        assert_eq!(decoded(layout, Unit::Fractions, 0.9, 1.0), Ok(1), "{layout}");
        // Without a box over the threshold nothing is reported, so the unit does not matter.
        assert_eq!(decoded(layout, Unit::Pixels, 0.1, 1.0), Ok(0), "{layout}");
    }
}

#[test]
fn classes_that_are_never_reported_cannot_be_kept() {
    let mut settings = Settings::of(&LAYOUTS[0], Unit::Fractions);
    let sizes = Sizes { classes: Some(80), ..Sizes::default() };
    assert_eq!(kept(&settings, sizes, None), Ok(()));
    assert_eq!(kept(&settings, sizes, Some(&[0, 79])), Ok(()));
    let message = kept(&settings, sizes, Some(&[2, 80])).expect_err("80 classes");
    assert!(message.contains("`keep`") && message.contains("no class 80"), "{message}");
    settings.rule.background = Some(0);
    let message = kept(&settings, sizes, Some(&[0])).expect_err("the background");
    assert!(message.contains("`keep`") && message.contains("`background_class`"), "{message}");
}
