//! `plimsoll init` guesses nothing silently: what the model does not say is marked in the file and printed.

use std::path::Path;

use plimsoll_tests::{TempDir, onnx::Onnx};
use rten_onnx::onnx::DataType;

use crate::cli::text;
use crate::init::init;

/// The settings that the file of a folder marks with `CHECK`, as key and value. The same ones must be printed.
pub(crate) fn assumptions(folder: &Path, printed: &str) -> Vec<(String, String)> {
    let file = std::fs::read_to_string(folder.join("plimsoll.toml")).expect("written");
    let marked = file.lines().filter(|line| line.contains("# CHECK: ")).map(|line| {
        let (setting, _) = line.split_once("# CHECK: ").expect("marked");
        let (key, value) = setting.split_once(" = ").expect("a setting");
        (key.trim().to_owned(), value.trim().to_owned())
    });
    let marked: Vec<_> = marked.collect();
    for (key, value) in &marked {
        assert!(printed.contains(&format!("\n  {key} = {value}: ")), "{key} is not printed: {printed}");
    }
    let is_printed = |line: &&str| line.starts_with("  ") && line.contains(" = ");
    assert_eq!(printed.lines().filter(is_printed).count(), marked.len(), "{printed}{file}");
    marked
}

/// A model for images of 96 x 96 pixels that returns constants.
fn detector(outputs: &[(&str, &[i64], Vec<f32>)]) -> Onnx {
    let image = [Some(1), Some(3), Some(96), Some(96)];
    let mut model = Onnx::new(17).input("images", &image).floats("zero", &[], &[0.0]);
    model =
        model.node("ReduceMean", &["images"], "mean", &[("keepdims", 0)]).node("Mul", &["mean", "zero"], "none", &[]);
    for (name, shape, values) in outputs {
        let constant = format!("{name}_values");
        model = model.floats(&constant, shape, values).node("Add", &[&constant, "none"], name, &[]).open_output(name);
    }
    model
}

/// `[1, 4 + numbers, 189]`: a box of 16 pixels for each cell, with the same numbers.
fn rows(numbers: usize) -> (&'static str, [i64; 3], Vec<f32>) {
    let values = [48.0, 48.0, 16.0, 16.0].into_iter().chain((0..numbers).map(|_| 0.5));
    ("output0", [1, 4 + numbers as i64, 189], values.flat_map(|value| [value; 189]).collect())
}

/// What must be true of the folder for a model.
struct Case {
    name: &'static str,
    model: Onnx,
    labels: usize,
    plugin: &'static str,
    /// The layout, and whether it is assumed.
    layout: Option<(&'static str, bool)>,
    /// A part of the output.
    words: &'static str,
}

#[test]
fn a_layout_that_the_form_of_the_outputs_does_not_prove_is_an_assumption() {
    let (_, shape, values) = rows(4);
    let yolo = || detector(&[("output0", &shape, values.clone())]);
    let turning = || {
        let model = detector(&[("boxes", &shape, values.clone())]).without_outputs();
        let model = model.node("Cos", &["none"], "cos", &[]).node("Sin", &["none"], "sin", &[]);
        let model = model.node("Mul", &["sin", "cos"], "zeros", &[]);
        model.node("Add", &["boxes", "zeros"], "output0", &[]).open_output("output0")
    };
    let queries = |count: usize, scores: usize| {
        let boxes = [0.5, 0.5, 0.2, 0.2].repeat(count);
        let logits = (0..count * scores).map(|at| -(at as f32 % 7.0)).collect();
        let shapes = [[1, count as i64, scores as i64], [1, count as i64, 4]];
        detector(&[("logits", &shapes[0], logits), ("pred_boxes", &shapes[1], boxes)])
    };
    let anchors = 9 * (144 + 36 + 9 + 4 + 1);
    let retinanet = || {
        let shapes = [[1, anchors as i64, 3], [1, anchors as i64, 4]];
        let (scores, boxes) = (vec![-3.0; anchors * 3], vec![0.0; anchors * 4]);
        detector(&[("cls_logits", &shapes[0], scores), ("bbox_regression", &shapes[1], boxes)])
    };
    let few = || {
        let values = [48.0, 48.0, 16.0, 16.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5].iter().flat_map(|value| [*value; 16]);
        detector(&[("output0", &[1, 10, 16], values.collect())]).metadata("task", "detect")
    };
    let named = |count: usize| {
        let names: Vec<_> = (0..count).map(|class| format!("{class}: 'c{class}'")).collect();
        format!("{{{}}}", names.join(", "))
    };
    let case = |name, model, labels, plugin, layout, words| Case { name, model, labels, plugin, layout, words };
    let (detect, tensors) = ("detect-postprocess", "tensors-postprocess");
    let cases = [
        case("bare", yolo(), 0, detect, Some(("yolov8", true)), "oriented boxes (OBB)"),
        case("labelled", yolo(), 4, detect, Some(("yolov8", false)), "(4 classes)"),
        case("stated", yolo().metadata("task", "detect"), 0, detect, Some(("yolov8", false)), "(4 classes)"),
        case("obb", yolo().metadata("task", "obb"), 0, tensors, None, "oriented boxes"),
        case("names", yolo().metadata("names", "{0: 'a', 1: 'b', 2: 'c'}"), 0, tensors, None, "oriented boxes"),
        case("turning", turning(), 0, tensors, None, "oriented boxes"),
        case("retinanet", retinanet(), 3, detect, Some(("retinanet", true)), "detectron2"),
        case("detr", queries(100, 4), 0, detect, Some(("detr", true)), "rt-detr"),
        case("detr-labelled", queries(300, 4), 3, detect, Some(("detr", false)), "(3 classes)"),
        case("rt-detr", queries(300, 4), 0, detect, Some(("rt-detr", true)), "(4 classes)"),
        // Queries of RT-DETR as Ultralytics exports them: more numbers than queries, as the columns of YOLOv8.
        case("queries", few().metadata("names", &named(12)), 0, tensors, None, "unknown"),
        case("columns", few().metadata("names", &named(6)), 0, detect, Some(("yolov8", false)), "(6 classes)"),
        case("rt-detr-labelled", queries(100, 4), 4, detect, Some(("rt-detr", false)), "(4 classes)"),
    ];
    let site = TempDir::new().expect("a folder");
    for Case { name, model, labels, plugin, layout, words } in cases {
        let (path, folder) = (site.path().join(format!("{name}.onnx")), site.path().join(name));
        std::fs::write(&path, model.bytes()).expect("written");
        let file = site.path().join("labels.txt");
        std::fs::write(&file, (0..labels).map(|label| format!("{label}\n")).collect::<String>()).expect("written");
        let named = ["--labels", file.to_str().expect("text")];
        let output = init(&path, &folder, if labels > 0 { &named } else { &[] });
        let printed = text(&output.stdout);
        assert!(output.status.success(), "{name}: {printed}{}", text(&output.stderr));
        let assumed = assumptions(&folder, &printed);
        let config = std::fs::read_to_string(folder.join("plimsoll.toml")).expect("written");
        assert!(
            config.contains(&format!("plugin = \"{plugin}\"")) && printed.contains(words),
            "{name}: {printed}{config}"
        );
        for key in ["resize", "channels"] {
            assert!(assumed.iter().any(|(assumed, _)| assumed == key), "{name}: {key}: {printed}");
        }
        let found = assumed.iter().find(|(key, _)| key == "layout").map(|(_, value)| value.as_str());
        if let Some((layout, is_assumed)) = layout {
            let quoted = format!("\"{layout}\"");
            assert!(config.contains(&format!("layout = {quoted}")), "{name}: {config}");
            assert_eq!(found, is_assumed.then_some(quoted.as_str()), "{name}: {printed}");
        }
    }
}

#[test]
fn labels_that_are_one_fewer_than_the_numbers_of_a_box_are_refused() {
    let (name, shape, values) = rows(4);
    let site = TempDir::new().expect("a folder");
    let (path, labels) = (site.path().join("model.onnx"), site.path().join("labels.txt"));
    std::fs::write(&path, detector(&[(name, &shape, values)]).bytes()).expect("written");
    std::fs::write(&labels, "a\nb\nc\n").expect("written");
    let output = init(&path, &site.path().join("made"), &["--labels", labels.to_str().expect("text")]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    assert!(message.contains("oriented boxes") && message.contains("labels.txt does not fit"), "{message}");
    assert!(!site.path().join("made").exists(), "nothing is written");
}

#[test]
fn what_a_classifier_does_not_say_is_an_assumption() {
    let site = TempDir::new().expect("a folder");
    for (name, last, channels, expected, scores) in [
        ("logits", &["Identity"][..], 3, &["resize", "channels", "scale", "scores"][..], "softmax"),
        ("softmax", &["Softmax"], 3, &["resize", "channels", "scale"], "ready"),
        // The last operator says nothing, but the scores of the trial run are probabilities.
        ("wrapped", &["Softmax", "Neg", "Neg"], 3, &["resize", "channels", "scale", "scores"], "ready"),
        ("gray", &["Identity"], 1, &["resize", "scale", "scores"], "softmax"),
    ] {
        let image = [Some(1), Some(channels), Some(32), Some(32)];
        let weights: Vec<f32> = (0..5 * channels).map(|at| at as f32 * 0.1 - 0.3).collect();
        let mut model = Onnx::new(17).input("x", &image).floats("weights", &[5, channels, 1, 1], &weights);
        model = model.node("GlobalAveragePool", &["x"], "mean", &[]).node("Conv", &["mean", "weights"], "five", &[]);
        model = model.node("Flatten", &["five"], "flat", &[("axis", 1)]);
        let mut value = "flat".to_owned();
        for (at, operator) in last.iter().enumerate() {
            let next = if at + 1 == last.len() { "y".to_owned() } else { format!("{operator}{at}") };
            model = model.node(operator, &[&value], &next, &[]);
            value = next;
        }
        let model = model.output("y", &[Some(1), Some(5)]);
        let (path, folder) = (site.path().join(format!("{name}.onnx")), site.path().join(name));
        std::fs::write(&path, model.bytes()).expect("written");
        let output = init(&path, &folder, &[]);
        let printed = text(&output.stdout);
        assert!(output.status.success(), "{name}: {printed}{}", text(&output.stderr));
        let mut assumed: Vec<_> = assumptions(&folder, &printed).into_iter().map(|(key, _)| key).collect();
        let config = std::fs::read_to_string(folder.join("plimsoll.toml")).expect("written");
        assert!(config.contains(&format!("scores = \"{scores}\"")), "{name}: {config}");
        assumed.retain(|key| key != "mean");
        assumed.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(assumed, expected, "{name}: {printed}");
    }
}

/// A run that would need more memory than a server allows is refused, as the server refuses it.
#[test]
fn a_model_whose_values_are_too_large_is_refused() {
    let site = TempDir::new().expect("a folder");
    let image = [Some(1), Some(3), None, None];
    let sizes = [1, 1, 1_000_000, 1_000_000].map(i64::to_le_bytes).concat();
    let model = Onnx::new(17)
        .input("x", &image)
        .typed("sizes", &[4], DataType::INT64, &sizes)
        .node("ReduceMean", &["x"], "mean", &[("keepdims", 0)])
        .node("Expand", &["mean", "sizes"], "large", &[])
        .node("ReduceMean", &["large"], "y", &[("keepdims", 0)])
        .open_output("y");
    let path = site.path().join("model.onnx");
    std::fs::write(&path, model.bytes()).expect("written");
    let output = init(&path, &site.path().join("made"), &[]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{}{message}", text(&output.stdout));
    assert!(message.contains("no backend can run") && message.contains("elements"), "{message}");
}
