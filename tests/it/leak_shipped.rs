//! The shipped plugins do not leak on any class of the corpus.

use std::path::Path;

use plimsoll::base::bundled;
use plimsoll_tests::{TempDir, shared};

use crate::leak::{Laboratory, text};
use crate::postprocess_cases::{body, pipelines};
use crate::steps_pipelines::{GATHER, IN};

/// Four rounds are the minimum that the laboratory accepts.
const ROUNDS: [&str; 3] = ["--rounds", "4", "--no-trace"];

/// Checks in the laboratory that a shipped plugin does not leak. Returns the outcomes of its runs.
fn assert_no_leak(plugin: &str, corpus: &Path, arguments: &[&str]) -> Vec<String> {
    let laboratory = Laboratory::new();
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join(format!("{plugin}.wasm"));
    std::fs::write(&file, bundled::plugin(plugin).expect("shipped")).expect("written");
    let output = laboratory.run(&file, corpus, &[&ROUNDS, arguments].concat());
    println!("{}", text(&output.stdout));
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    let report = laboratory.report();
    assert_eq!((&report["heap_is_known"], &report["excluded"]), (&true.into(), &serde_json::json!([])));
    assert_eq!(report["all"]["verdict"], "steady", "{plugin}");
    let classes = report["classes"].as_array().expect("classes");
    classes.iter().map(|class| class["outcome"].as_str().expect("text").to_owned()).collect()
}

#[test]
fn image_preprocess_does_not_leak_on_any_outcome() {
    let Some(corpus) = shared("corpus") else { return };
    let outcomes = assert_no_leak("image-preprocess", &corpus, &["--pipeline", "digits"]);
    for outcome in ["ok", "unsupported_media_type", "invalid_input", "too_large"] {
        assert!(outcomes.iter().any(|seen| seen == outcome), "{outcome} is not among {outcomes:?}");
    }
}

#[test]
fn the_other_shipped_plugins_do_not_leak() {
    let (Some(corpus), Some(models)) = (shared("corpus"), shared("models")) else { return };
    let valid = corpus.join("valid");
    let demo = ["--pipeline", "digits"];
    for plugin in ["infer-native", "infer-wasm", "classify-postprocess"] {
        let outcomes = assert_no_leak(plugin, &valid, &demo);
        assert_eq!(outcomes, ["ok"], "{plugin}");
    }
    let folder = TempDir::new().expect("a folder");
    let config = folder.path().join("plimsoll.toml");
    let models = models.canonicalize().expect("there");
    std::fs::write(&config, crate::models::config(&models, "rten", None)).expect("written");
    let faces = ["--config", config.to_str().expect("text"), "--pipeline", "faces", "--chip", "cpu"];
    let outcomes = assert_no_leak("detect-postprocess", &valid, &faces);
    assert_eq!(outcomes, ["ok"], "detect-postprocess");
}

/// Postprocess plugins with the outputs of models that `given-tensors` returns: valid ones, and one with a NaN.
#[test]
fn postprocess_plugins_do_not_leak_on_replies_and_errors() {
    let values = |first: f32| [first, 0.25, 0.5, 0.125, 3.0, 2.0, 0.75, 0.5];
    for (plugin, shape, stage) in [
        ("tensors-postprocess", &[8][..], ""),
        ("classify-postprocess", &[1, 8], ""),
        ("embed-postprocess", &[1, 8], ""),
        ("image-postprocess", &[1, 1, 2, 4], "config = { format = \"webp\", range = \"image\" }"),
        ("image-postprocess", &[1, 1, 2, 4], "config = { format = \"jpeg\", range = [-4, 4] }"),
        ("segment-postprocess", &[1, 2, 2, 2], "config = { format = \"polygons\" }"),
        ("pose-postprocess", &[1, 2, 2, 2], "config = { layout = \"heatmaps\" }"),
        ("text-postprocess", &[1, 4, 2], "config = { dictionary = \"d\" }\nassets = { d = \"dictionary.txt\" }"),
    ] {
        let (folder, corpus) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
        for (index, first) in [1.0, 2.5, f32::NAN, -4.0].into_iter().enumerate() {
            let body = body(&[("output", shape, &values(first))]);
            std::fs::write(corpus.path().join(format!("{index}.body")), body).expect("written");
        }
        std::fs::write(folder.path().join("dictionary.txt"), "a\n").expect("written");
        let config = folder.path().join("plimsoll.toml");
        std::fs::write(&config, pipelines(plugin, &[stage.to_owned()])).expect("written");
        let pipeline = ["--config", config.to_str().expect("text"), "--pipeline", "p0"];
        let mut outcomes = assert_no_leak(plugin, corpus.path(), &pipeline);
        outcomes.sort();
        assert_eq!(outcomes, ["internal", "ok"], "{plugin}");
    }
}

/// Boxes with coefficients and prototypes of masks: in the image, outside of it, and with a NaN.
#[test]
fn segment_postprocess_does_not_leak_on_masks() {
    for format in ["png", "rle", "polygons"] {
        let (folder, corpus) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
        for (index, x) in [10.0, 25.0, f32::NAN, -40.0].into_iter().enumerate() {
            let rows = [x, 30.0, 30.0, 30.0, 20.0, 20.0, 20.0, 20.0, 0.9, 0.1, 1.0, 1.0];
            let tensors: [(&str, &[usize], &[f32]); 2] =
                [("output0", &[1, 6, 2], &rows), ("output1", &[1, 1, 2, 2], &[1.0, -1.0, 1.0, 0.5])];
            std::fs::write(corpus.path().join(format!("{index}.body")), body(&tensors)).expect("written");
        }
        let config = folder.path().join("plimsoll.toml");
        let stage = format!("config = {{ layout = \"yolo\", format = \"{format}\" }}");
        std::fs::write(&config, pipelines("segment-postprocess", &[stage])).expect("written");
        let pipeline = ["--config", config.to_str().expect("text"), "--pipeline", "p0"];
        let mut outcomes = assert_no_leak("segment-postprocess", corpus.path(), &pipeline);
        outcomes.sort();
        assert_eq!(outcomes, ["internal", "ok"], "{format}");
    }
}

/// Boxes of two layouts, with both kinds of suppression: in the image, outside of it, and with a NaN.
#[test]
fn detect_postprocess_does_not_leak_on_boxes_and_errors() {
    for (config, shape) in [("layout = \"yolov5\"", [1, 2, 6]), ("layout = \"yolov8\", nms = \"soft\"", [1, 6, 2])] {
        let (folder, corpus) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
        for (index, x) in [10.0, 25.0, f32::NAN, -40.0].into_iter().enumerate() {
            let mut numbers = [x, 30.0, 20.0, 20.0, 0.9, 0.9, 28.0, 30.0, 20.0, 20.0, 0.8, 0.8].to_vec();
            if shape[1] == 6 {
                numbers = (0..12).map(|at| numbers[at % 2 * 6 + at / 2]).collect();
            }
            std::fs::write(corpus.path().join(format!("{index}.body")), body(&[("output0", &shape, &numbers)]))
                .expect("written");
        }
        let file = folder.path().join("plimsoll.toml");
        std::fs::write(&file, pipelines("detect-postprocess", &[format!("config = {{ {config} }}")])).expect("written");
        let pipeline = ["--config", file.to_str().expect("text"), "--pipeline", "p0"];
        let mut outcomes = assert_no_leak("detect-postprocess", corpus.path(), &pipeline);
        outcomes.sort();
        assert_eq!(outcomes, ["internal", "ok"], "{config}");
    }
}

/// Transform plugins with tensors that `given-tensors` returns: a box, none, and one with a NaN.
#[test]
fn transform_plugins_do_not_leak_on_items_and_errors() {
    let crop = r#"detector = "end-to-end", output = "rows", width = 4, height = 4"#;
    let route = r#"output = "rows", keep = [0]"#;
    let tiles = r#"detector = "tiles", width = 16, height = 16, max_tiles = 30"#;
    for (plugin, config) in [("crop-transform", crop), ("crop-transform", tiles), ("route-transform", route)] {
        let (folder, corpus) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
        for (index, score) in [0.9, 0.1, f32::NAN, 0.8].into_iter().enumerate() {
            // A row of `end-to-end`, and six scores.
            let (rows, shape): (&[f32], &[usize]) = match plugin {
                "crop-transform" => (&[8.0, 8.0, 40.0, 30.0, score, 0.0], &[1, 1, 6]),
                _ => (&[score, 0.5, 0.25, 0.125, 0.0, -2.0], &[1, 6]),
            };
            let picture = with_picture(&body(&[("rows", shape, rows)]));
            std::fs::write(corpus.path().join(format!("{index}.body")), picture).expect("written");
        }
        let step = format!(
            r#"{{ name = "step", kind = "transform", plugin = "{plugin}", items = true, config = {{ {config} }} }}"#
        );
        let file = folder.path().join("plimsoll.toml");
        std::fs::write(&file, crate::steps_pipelines::config("", &[IN, &step, GATHER])).expect("written");
        let pipeline = ["--config", file.to_str().expect("text"), "--pipeline", "p", "--step", "step"];
        let mut outcomes = assert_no_leak(plugin, corpus.path(), &pipeline);
        outcomes.sort();
        // Tiles do not depend on what a detector returns.
        assert_eq!(outcomes, if config == tiles { &["ok"][..] } else { &["internal", "ok"] }, "{plugin}");
    }
}

/// A body for `given-tensors` with a tensor `picture` of 64 x 64 pixels after its others.
fn with_picture(body: &[u8]) -> Vec<u8> {
    let (length, rest) = body.split_first_chunk::<4>().expect("a length");
    let (text, data) = rest.split_at(u32::from_le_bytes(*length) as usize);
    let mut described: serde_json::Value = serde_json::from_slice(text).expect("JSON");
    let picture = serde_json::json!({ "name": "picture", "type": "u8", "shape": [1, 64, 64, 3] });
    described["tensors"].as_array_mut().expect("tensors").push(picture);
    let text = described.to_string();
    let length = u32::try_from(text.len()).expect("short").to_le_bytes();
    [&length, text.as_bytes(), data, &[7; 3 * 64 * 64]].concat()
}
