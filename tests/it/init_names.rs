//! `plimsoll init`: what the names of outputs decide, and the commands that are printed.

use std::process::Command;

use plimsoll_tests::onnx::Onnx;
use rten_onnx::onnx::DataType;

use crate::cli::text;
use crate::init_assumptions::assumptions;
use crate::init_families::{IMAGE, Site};
use crate::process::Process;

/// Returns `count` mixtures of the mean colour of an image under this name.
fn numbers(name: &str, count: i64) -> Onnx {
    let weights: Vec<f32> = (0..3 * count).map(|at| at as f32 * 0.2 - 0.9).collect();
    let model = Onnx::new(22).input("x", &IMAGE).floats("w", &[count, 3, 1, 1], &weights);
    let model = model.node("GlobalAveragePool", &["x"], "mean", &[]).node("Conv", &["mean", "w"], "mixed", &[]);
    model.node("Flatten", &["mixed"], name, &[("axis", 1)]).output(name, &[Some(1), Some(count)])
}

/// A value for each pixel under this name.
fn map(name: &str) -> Onnx {
    let model = Onnx::new(22).input("x", &IMAGE).floats("w", &[1, 3, 1, 1], &[0.5, -0.25, 2.0]);
    model.node("Conv", &["x", "w"], name, &[]).open_output(name)
}

/// Each pixel four times.
fn larger() -> Onnx {
    let weights: Vec<f32> = (0..36).map(|at| if at / 3 % 3 == at % 3 { 1.0 } else { 0.0 }).collect();
    let model = Onnx::new(22).input("x", &IMAGE).floats("w", &[12, 3, 1, 1], &weights);
    let model = model.node("Conv", &["x", "w"], "four", &[]);
    model.node("DepthToSpace", &["four"], "y", &[("blocksize", 2)]).open_output("y")
}

/// The mean colour as the vector of an image, beside the colours of all pixels.
fn vectors(name: &str) -> Onnx {
    let sizes = [1_i64, 64 * 64, 3].map(i64::to_le_bytes).concat();
    let model = Onnx::new(22).input("x", &IMAGE).typed("sizes", &[3], DataType::INT64, &sizes);
    let model = model.node("GlobalAveragePool", &["x"], "mean", &[]).node("Flatten", &["mean"], name, &[("axis", 1)]);
    model.node("Reshape", &["x", "sizes"], "last_hidden_state", &[]).open_output("last_hidden_state").open_output(name)
}

#[test]
fn names_of_outputs_distinguish_what_has_the_same_form() {
    let site = Site::new();
    let ten = site.write("ten.txt", (0..10).map(|label| format!("{label}\n")).collect::<String>());
    let ten = ["--labels", ten.to_str().expect("text")];
    let none: &[&str] = &[];
    for (name, model, arguments, settings, words) in [
        ("depth", map("predicted_depth"), none, &["\"image-postprocess\"", "range = \"image\""][..], "image/png"),
        ("mask", map("mask"), none, &["\"segment-postprocess\"", "threshold = 0.0"], "image/png"),
        ("larger", larger(), none, &["\"image-postprocess\"", "range = [0, 1]", "layout = \"nchw\""], "image/png"),
        (
            "landmarks",
            numbers("faceLandmarks", 10),
            none,
            &["\"tensors-postprocess\""],
            "10 numbers that are no scores",
        ),
        ("labelled", numbers("faceLandmarks", 10), &ten[..], &["\"classify-postprocess\""], "(10 classes)"),
        ("scores", numbers("appointments", 10), none, &["\"classify-postprocess\""], "(10 classes)"),
        (
            "pooled",
            vectors("pooler_output"),
            none,
            &["\"embed-postprocess\"", "output = \"pooler_output\""],
            "\"dimensions\":3",
        ),
        ("clip", vectors("image_embeds"), none, &["output = \"image_embeds\""], "\"dimensions\":3"),
        ("unclear", vectors("value"), none, &["\"tensors-postprocess\""], "the task is unknown"),
    ] {
        let (printed, config, folder) = site.made(name, &model, arguments);
        assert!(printed.contains(words), "{name}: {printed}");
        for wanted in settings {
            assert!(config.contains(wanted), "{name}: {wanted} is missing in {config}");
        }
        // What the name decides can be wrong, so it is stated.
        let assumed = assumptions(&folder, &printed);
        for key in ["range", "output"].into_iter().filter(|key| config.contains(&format!("\n{key} = "))) {
            assert!(assumed.iter().any(|(found, _)| found == key), "{name}: {key}: {printed}");
        }
    }
}

/// Boxes, scores and classes under these names, and perhaps their number. `shape` is that of the scores.
fn suppressed(names: [&str; 3], shape: &[i64], count: Option<&str>) -> Onnx {
    let model = Onnx::new(22).input("x", &IMAGE).floats("zero", &[], &[0.0]);
    let model = model.node("GlobalAveragePool", &["x"], "mean", &[]).node("Flatten", &["mean"], "flat", &[("axis", 1)]);
    let model =
        model.node("ReduceSum", &["flat"], "sum", &[("keepdims", 0)]).node("Mul", &["sum", "zero"], "none", &[]);
    let of_boxes = [shape, &[4]].concat();
    // The last row is not valid if there is a number of rows.
    let boxes = [8.0, 16.0, 24.0, 48.0, 40.0, 4.0, 60.0, 12.0, 1.0, 1.0, 30.0, 30.0];
    // In torchvision's detectors 0 is the background, which they return for no box.
    let classes = if names[2] == "labels" { [2.0, 1.0, 2.0] } else { [1.0, 0.0, 1.0] };
    let mut model = model
        .floats("boxes of all", &of_boxes, &boxes)
        .floats("scores of all", shape, &[0.9, 0.8, 0.7])
        .floats("classes of all", shape, &classes)
        .node("Add", &["boxes of all", "none"], names[0], &[])
        .node("Add", &["scores of all", "none"], names[1], &[])
        .node("Add", &["classes of all", "none"], "whole", &[])
        .node("Cast", &["whole"], names[2], &[("to", 7)]);
    for name in &names[..2] {
        model = model.open_output(name);
    }
    let sizes: Vec<_> = shape.iter().map(|size| Some(*size)).collect();
    model = model.int_output(names[2], &sizes);
    let Some(count) = count else { return model };
    let model = model.floats("two", &[1, 1], &[2.0]).node("Add", &["two", "none"], "number", &[]);
    model.node("Cast", &["number"], count, &[("to", 6)]).typed_output(count, &[Some(1), Some(1)], DataType::INT32)
}

#[test]
fn boxes_of_models_with_suppression_inside_are_in_the_right_order() {
    let site = Site::new();
    let efficient = suppressed(["det_boxes", "det_scores", "det_classes"], &[1, 3], Some("num_dets"));
    for (name, model, first_class, found) in [
        ("torchvision", suppressed(["boxes", "scores", "labels"], &[3], None), "1", 3),
        ("efficient", efficient, "0", 2),
    ] {
        let (printed, config, folder) = site.made(name, &model, &[]);
        let assumed = assumptions(&folder, &printed);
        for (key, value) in [("layout", "\"nms\""), ("first_class", first_class), ("resize", "\"letterbox\"")] {
            assert!(assumed.contains(&(key.to_owned(), value.to_owned())), "{name}: {key}: {printed}{config}");
        }
        // A list of labels with the background has its own first class.
        if name == "torchvision" {
            let file = folder.join("labels of coco");
            std::fs::write(&file, "__background__\nperson\nbicycle\n").expect("written");
            let labels = ["--labels", file.to_str().expect("text")];
            let (printed, config, _) = site.made("with-background", &model, &labels);
            assert!(config.contains("first_class = 0") && !printed.contains("first_class"), "{printed}{config}");
            assert!(printed.contains("\"label\":\"person\"") && printed.contains("\"label\":\"bicycle\""), "{printed}");
        }
        // The sample is as large as the input.
        let boxes = ["\"box\":[8.0,16.0,24.0,48.0]", "\"box\":[40.0,4.0,60.0,12.0]", "\"box\":[1.0,1.0,30.0,30.0]"];
        for (at, wanted) in boxes.iter().enumerate() {
            assert_eq!(printed.contains(wanted), at < found, "{name}: {wanted}: {printed}");
        }
        // The index of the label in the file.
        assert!(printed.contains("\"index\":1") && !printed.contains("\"index\":2"), "{name}: {printed}");
    }
    // TensorFlow's names have its order, in fractions: pixels are refused.
    let names = ["detection_boxes", "detection_scores", "detection_classes"];
    let model = suppressed(names, &[1, 3], Some("num_detections"));
    let (output, folder) = site.init("tensorflow", &model, &[]);
    let config = std::fs::read_to_string(folder.join("plimsoll.toml")).expect("written");
    assert!(config.contains("layout = \"ssd\"") && config.contains("count = \"num_detections\""), "{config}");
    assert!(text(&output.stderr).contains("`coordinates`"), "{}", text(&output.stderr));
    assert!(!config.contains("first_class"), "{config}");
    let file = folder.join("labels of coco");
    std::fs::write(&file, "background\nperson\n").expect("written");
    let (_, folder) = site.init("tensorflow-background", &model, &["--labels", file.to_str().expect("text")]);
    let config = std::fs::read_to_string(folder.join("plimsoll.toml")).expect("written");
    assert!(config.contains("layout = \"ssd\"") && config.contains("first_class = 0"), "{config}");
}

/// A recogniser of text for lines of 8 pixels and any width: scores of a blank and four characters for every fourth pixel.
#[test]
fn a_recogniser_of_lines_has_the_width_of_its_family() {
    let site = Site::new();
    let weights: Vec<f32> = (0..5 * 3 * 8 * 4).map(|at| (at % 7) as f32 * 0.1 - 0.3).collect();
    let model = Onnx::new(22)
        .input("x", &[None, Some(3), Some(8), None])
        .floats("w", &[5, 3, 8, 4], &weights)
        .typed("rows", &[1], DataType::INT64, &2_i64.to_le_bytes())
        .node("Conv", &["x", "w"], "steps", &[])
        .with_lists(&[("strides", &[8, 4])])
        .node("Squeeze", &["steps", "rows"], "line", &[])
        .node("Transpose", &["line"], "logits", &[])
        .with_lists(&[("perm", &[0, 2, 1])])
        .open_output("logits");
    let labels = site.write("labels.txt", "a\nb\nc\nd\n");
    let (printed, config, folder) = site.made("lines", &model, &["--labels", labels.to_str().expect("text")]);
    assert!(config.contains("plugin = \"text-postprocess\""), "{config}");
    let assumed = assumptions(&folder, &printed);
    assert!(assumed.contains(&("width".to_owned(), "320".to_owned())), "{printed}");
}

/// The words that a shell makes of a command.
fn words(command: &str) -> Vec<String> {
    let script = format!("set -- {command}; printf '%s\\0' \"$@\"");
    let output = Command::new("sh").args(["-c", &script]).output().expect("a shell");
    let all = text(&output.stdout);
    all.split_terminator('\0').map(str::to_owned).collect()
}

#[test]
fn the_printed_commands_work_in_a_folder_whose_name_has_spaces_and_quotes() {
    let site = Site::new();
    let name = "it's $HOME & more";
    let (printed, _, folder) = site.made(name, &numbers("logits", 4), &[]);
    let command = |program: &str| {
        let lines: Vec<_> = printed.lines().filter_map(|line| line.strip_prefix("  ")).collect();
        words(lines.iter().find(|line| line.starts_with(program)).unwrap_or_else(|| panic!("no {program}: {printed}")))
    };
    let serve = command("plimsoll ");
    let config = folder.join("plimsoll.toml");
    assert_eq!(serve, ["plimsoll", "serve", "--config", config.to_str().expect("text")]);
    let data = folder.join("data");
    let mut arguments: Vec<_> = serve[2..].iter().map(String::as_str).collect();
    arguments.extend(["--listen", "127.0.0.1:0", "--data-dir", data.to_str().expect("text")]);
    let server = Process::serve(&arguments);
    let url = command("curl ").pop().expect("an address").replace("http://127.0.0.1:8080", &server.url());
    let image = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/data/digits/7.jpg")).expect("the sample");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let status =
        runtime.block_on(async { reqwest::Client::new().post(url).body(image).send().await }).expect("a reply");
    assert_eq!(status.status(), 200);
}
