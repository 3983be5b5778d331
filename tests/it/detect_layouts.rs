//! `detect-postprocess` decodes the outputs of each layout as a reference in Python does, and answers with an error if a
//! model returns what cannot be right.

use plimsoll_tests::TempDir;
use serde_json::Value;

use crate::postprocess_cases::{CASES, Output, PIPELINES_PER_SERVER, body, check_admission, floats, python, server};

const LAYOUTS: usize = 12;

/// Runs the generator. Returns its folder and the pipelines, or `None` if Python is missing.
fn generate() -> Option<(TempDir, Vec<Value>)> {
    let folder = TempDir::new().expect("a folder");
    python("detections", &[folder.path().to_str().expect("text"), "--count", &CASES.to_string()])?;
    let index = std::fs::read(folder.path().join("index.json")).expect("an index");
    Some((folder, serde_json::from_slice(&index).expect("a list")))
}

/// The difference between a reply and the reference, if there is one.
fn difference(found: &[Value], expected: &[Value]) -> Option<String> {
    if found.len() != expected.len() {
        return Some(format!("{} detections instead of {}", found.len(), expected.len()));
    }
    let number = |value: &Value| value.as_f64().expect("a number");
    found.iter().zip(expected).find_map(|(found, expected)| {
        let is_near =
            |a: &Value, b: &Value, limit: f64| (number(a) - number(b)).abs() <= limit * number(b).abs().max(3.0);
        let is_right = found["index"] == expected["index"]
            && found["label"].as_str().and_then(|label| label.parse().ok()) == expected["index"].as_u64()
            && is_near(&found["score"], &expected["score"], 3e-6)
            && (0..4).all(|corner| is_near(&found["box"][corner], &expected["box"][corner], 1e-4));
        (!is_right).then(|| format!("{found} instead of {expected}"))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_layout_has_the_detections_of_the_reference() {
    let Some((folder, pipelines)) = tokio::task::spawn_blocking(generate).await.expect("no panic") else { return };
    let (mut cases, mut detections, mut wrong) = (0, 0, Vec::new());
    for some in pipelines.chunks(PIPELINES_PER_SERVER) {
        let config = |it: &Value| format!("config = {{ {} }}", it["config"].as_str().expect("text"));
        let configs: Vec<_> = some.iter().map(config).collect();
        let server = server("detect-postprocess", &configs).await;
        for (index, pipeline) in some.iter().enumerate() {
            for case in pipeline["cases"].as_array().expect("a list") {
                let name = case["file"].as_str().expect("a name");
                let body = std::fs::read(folder.path().join(name)).expect("listed");
                let reply = server.infer(&format!("p{index}"), "", body).await;
                cases += 1;
                if reply.status != 200 {
                    wrong.push(format!("{name} ({}): {} {}", configs[index], reply.status, reply.text));
                    continue;
                }
                let found = reply.json()["detections"].as_array().expect("a list").clone();
                detections += found.len();
                if let Some(what) = difference(&found, case["detections"].as_array().expect("a list")) {
                    wrong.push(format!("{name} ({}): {what}", configs[index]));
                }
            }
        }
    }
    println!("{cases} cases with {detections} detections in {} configurations", pipelines.len());
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
    assert_eq!(cases, LAYOUTS * CASES);
    assert!(detections > 10 * cases, "{detections}");
}

/// A layout whose model returns one box, in an input of 64 x 64 pixels.
struct Model {
    config: &'static str,
    /// Name, shape and numbers of each output. The first number that is [`SCORE`] decides if the box is reported.
    outputs: &'static [(&'static str, &'static [usize], &'static [f32])],
    /// Changes that are always an error: the output, the index of the number, its value.
    wrong: &'static [(usize, usize, f32)],
    /// Changes that are an error if the box is over the threshold.
    wrong_if_reported: &'static [(usize, usize, f32)],
}

/// A place for the score or its logit: 0.9 and 5, or 0.01 and -5.
const SCORE: f32 = 1234.0;
const NAN: f32 = f32::NAN;
const INFINITY: f32 = f32::INFINITY;

const MODELS: [Model; 11] = [
    Model {
        config: "layout = \"decoded\", background_class = -1",
        outputs: &[("scores", &[1, 1, 1], &[SCORE]), ("boxes", &[1, 1, 4], &[0.1, 0.1, 0.5, 0.5])],
        wrong: &[(0, 0, NAN), (0, 0, 1.5), (0, 0, -0.5), (1, 0, NAN), (1, 3, -INFINITY)],
        wrong_if_reported: &[(1, 0, 0.9), (1, 2, 100.0), (1, 1, -1e30)],
    },
    Model {
        config: "layout = \"yolov5\"",
        outputs: &[("output0", &[1, 1, 6], &[30.0, 30.0, 20.0, 20.0, SCORE, 0.9])],
        wrong: &[(0, 0, NAN), (0, 2, INFINITY), (0, 4, 1.5), (0, 4, -0.5), (0, 5, NAN), (0, 5, 7.0), (0, 5, -1.0)],
        wrong_if_reported: &[(0, 2, -20.0), (0, 0, 1e6), (0, 3, 1e30)],
    },
    Model {
        config: "layout = \"yolov8\"",
        outputs: &[("output0", &[1, 5, 1], &[30.0, 30.0, 20.0, 20.0, SCORE])],
        wrong: &[(0, 0, NAN), (0, 2, INFINITY), (0, 4, NAN), (0, 4, 1.5), (0, 4, -0.5)],
        wrong_if_reported: &[(0, 2, -20.0), (0, 0, 1e6), (0, 3, 1e30)],
    },
    Model {
        config: "layout = \"end-to-end\"",
        outputs: &[("output0", &[1, 1, 6], &[10.0, 10.0, 40.0, 40.0, SCORE, 0.0])],
        wrong: &[(0, 0, NAN), (0, 4, 1.5), (0, 4, -0.5), (0, 5, NAN), (0, 5, INFINITY)],
        wrong_if_reported: &[(0, 0, 50.0), (0, 3, 1e6), (0, 5, 0.5), (0, 5, -1.0), (0, 5, 1e5)],
    },
    Model {
        config: "layout = \"yolox\", strides = [64]",
        outputs: &[("output", &[1, 1, 6], &[0.1, 0.1, -1.0, -1.0, SCORE, 0.9])],
        wrong: &[(0, 0, NAN), (0, 4, 1.5), (0, 5, -0.5)],
        // The size is an exponential.
        wrong_if_reported: &[(0, 2, 100.0), (0, 3, 10.0), (0, 0, 50.0)],
    },
    Model {
        config: "layout = \"ssd\"",
        outputs: &[
            ("detection_boxes", &[1, 1, 4], &[0.1, 0.1, 0.5, 0.5]),
            ("detection_classes", &[1, 1], &[1.0]),
            ("detection_scores", &[1, 1], &[SCORE]),
            ("num_detections", &[1], &[1.0]),
        ],
        wrong: &[(0, 0, NAN), (1, 0, NAN), (2, 0, 1.5), (3, 0, 2.0), (3, 0, 0.5), (3, 0, -1.0), (3, 0, NAN)],
        wrong_if_reported: &[(0, 0, 0.9), (0, 3, 100.0), (1, 0, 0.0), (1, 0, 1.5)],
    },
    Model {
        config: "layout = \"nms\", count = \"number\"",
        outputs: &[
            ("boxes", &[1, 4], &[10.0, 10.0, 40.0, 40.0]),
            ("labels", &[1], &[1.0]),
            ("scores", &[1], &[SCORE]),
            ("number", &[1, 1], &[1.0]),
        ],
        wrong: &[(0, 0, NAN), (1, 0, NAN), (2, 0, 1.5), (3, 0, 2.0), (3, 0, 0.5), (3, 0, -1.0), (3, 0, NAN)],
        wrong_if_reported: &[(0, 0, 50.0), (0, 3, 1e6), (1, 0, -1.0), (1, 0, 1.5)],
    },
    Model {
        config: "layout = \"detr\"",
        outputs: &[("logits", &[1, 1, 2], &[SCORE, 0.0]), ("pred_boxes", &[1, 1, 4], &[0.5, 0.5, 0.2, 0.2])],
        wrong: &[(0, 0, NAN), (0, 1, INFINITY), (1, 0, NAN)],
        wrong_if_reported: &[(1, 2, -0.5), (1, 0, 100.0)],
    },
    Model {
        config: "layout = \"rt-detr\"",
        outputs: &[("logits", &[1, 1, 1], &[SCORE]), ("pred_boxes", &[1, 1, 4], &[0.5, 0.5, 0.2, 0.2])],
        wrong: &[(0, 0, NAN), (0, 0, -INFINITY), (1, 0, NAN)],
        wrong_if_reported: &[(1, 2, -0.5), (1, 0, 100.0)],
    },
    Model {
        config: "layout = \"retinanet\", strides = [64], anchor_sizes = [32], anchor_ratios = [1]",
        outputs: &[("cls_logits", &[1, 1, 1], &[SCORE]), ("bbox_regression", &[1, 1, 4], &[0.1, 0.1, 0.2, 0.2])],
        wrong: &[(0, 0, NAN), (0, 0, INFINITY), (1, 0, NAN)],
        wrong_if_reported: &[(1, 0, 100.0)],
    },
    Model {
        config: "layout = \"fastestdet\"",
        outputs: &[("output", &[1, 6, 1, 1], &[SCORE, 0.1, 0.1, 0.2, 0.2, 0.9])],
        wrong: &[(0, 1, NAN), (0, 0, 1.5), (0, 5, -0.5), (0, 5, 1.5)],
        wrong_if_reported: &[],
    },
];

/// What a model returns wrongly: one number of a valid reply is replaced.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_cannot_be_right_are_an_error() {
    let server = server("detect-postprocess", &MODELS.map(|it| format!("config = {{ {} }}", it.config))).await;
    for (index, model) in MODELS.iter().enumerate() {
        for is_reported in [true, false] {
            let post = async |change: Option<(usize, usize, f32)>, is_valid: bool| {
                let logits = ["logits", "cls_logits"].contains(&model.outputs[0].0);
                let score = match (logits, is_reported) {
                    (false, true) => 0.9,
                    (false, false) => 0.01,
                    (true, true) => 5.0,
                    (true, false) => -5.0,
                };
                let with_score = |value: &f32| if *value == SCORE { score } else { *value };
                let mut numbers: Vec<Vec<f32>> =
                    model.outputs.iter().map(|(.., values)| values.iter().map(with_score).collect()).collect();
                if let Some((output, place, value)) = change {
                    numbers[output][place] = value;
                }
                let described = model.outputs.iter().zip(&numbers);
                let tensors: Vec<_> =
                    described.map(|((name, shape, _), values)| (*name, *shape, values.as_slice())).collect();
                let reply = server.infer(&format!("p{index}"), "", body(&tensors)).await;
                let what = format!("{} {change:?} reported: {is_reported}: {}", model.config, reply.text);
                if is_valid {
                    assert_eq!(reply.status, 200, "{what}");
                    let count = reply.json()["detections"].as_array().expect("a list").len();
                    assert_eq!(count, usize::from(is_reported), "{what}");
                } else {
                    assert_eq!((reply.status, reply.code().as_str()), (500, "internal"), "{what}");
                }
            };
            post(None, true).await;
            for change in model.wrong {
                post(Some(*change), false).await;
            }
            for change in model.wrong_if_reported {
                post(Some(*change), !is_reported).await;
            }
        }
    }
}

/// Fractions where pixels are configured, which is the default of these layouts.
#[tokio::test(flavor = "multi_thread")]
async fn fractions_are_not_answered_as_pixels() {
    let [pixels, fractions] = ["", ", coordinates = \"fractions\""];
    let layouts: [(&str, &[usize], &[f32]); 3] = [
        ("yolov5", &[1, 1, 6], &[0.5, 0.5, 0.25, 0.25, 0.9, 0.9]),
        ("yolov8", &[1, 5, 1], &[0.5, 0.5, 0.25, 0.25, 0.9]),
        ("end-to-end", &[1, 1, 6], &[0.375, 0.375, 0.625, 0.625, 0.9, 0.0]),
    ];
    let configs: Vec<_> = layouts
        .iter()
        .flat_map(|(name, ..)| [pixels, fractions].map(|unit| format!("config = {{ layout = \"{name}\"{unit} }}")))
        .collect();
    let server = server("detect-postprocess", &configs).await;
    for (index, (name, shape, values)) in layouts.iter().enumerate() {
        let tensors = body(&[("output0", shape, values)]);
        let refused = server.infer(&format!("p{}", 2 * index), "", tensors.clone()).await;
        assert_eq!((refused.status, refused.code().as_str()), (500, "internal"), "{name}: {}", refused.text);
        let right = server.infer(&format!("p{}", 2 * index + 1), "", tensors).await;
        assert_eq!(right.status, 200, "{name}: {}", right.text);
        assert_eq!(right.json()["detections"][0]["box"], serde_json::json!([24.0, 24.0, 40.0, 40.0]), "{name}");
    }
}

/// The outputs that a model declares are compared with the layout before a request comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_another_layout_is_rejected_at_deployment() {
    for (config, outputs, wanted) in [
        ("layout = \"yolov8\"", vec![floats("o", &[Some(1), Some(84), Some(8400)])], None),
        ("layout = \"yolov8\"", vec![floats("o", &[Some(1), Some(84), None])], None),
        ("layout = \"yolov5\"", vec![floats("o", &[None, None, None])], None),
        ("layout = \"yolov8\"", vec![floats("o", &[Some(1), Some(8400), Some(84)])], Some("axes seem to be exchanged")),
        ("layout = \"yolov5\"", vec![floats("o", &[Some(1), Some(84), Some(8400)])], Some("axes seem to be exchanged")),
        ("layout = \"yolov5\"", vec![floats("o", &[Some(2), Some(8400), Some(85)])], Some("[1, N, 5 + C]")),
        ("layout = \"end-to-end\"", vec![floats("o", &[Some(1), Some(300), Some(7)])], Some("[1, N, 6]")),
        ("layout = \"yolov8\"", vec![floats("a", &[Some(1), None, None]); 2], Some("does not have exactly one output")),
        (
            "layout = \"yolov8\", nms = \"soft\", max_detections = 1001",
            vec![floats("o", &[Some(1), None, None])],
            Some("is more than 1000, the maximum with nms = \"soft\""),
        ),
        ("layout = \"yolov8\", nms = \"fast\"", vec![floats("o", &[Some(1), None, None])], Some("is not one of")),
        (
            "layout = \"yolo\"",
            vec![floats("o", &[Some(1), None, None])],
            Some("decoded, yolov5, yolov7, yolov8, end-to-end"),
        ),
        (
            "layout = \"yolov8\", first_class = 1",
            vec![floats("o", &[Some(1), None, None])],
            Some("cannot be used with"),
        ),
    ] {
        let outputs: Vec<Output<'_>> = outputs
            .iter()
            .enumerate()
            .map(|(index, output)| if index == 0 { *output } else { floats("b", &[Some(1), None, None]) })
            .collect();
        check_admission("detect-postprocess", &format!("config = {{ {config} }}"), &outputs, wanted).await;
    }
}
