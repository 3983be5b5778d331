//! `plimsoll init` on real models, and on a model that only one backend can run.

use std::path::Path;
use std::process::Command;

use plimsoll_tests::{TempDir, onnx::Onnx, shared};

use crate::cli::text;
use crate::init::{init, served_reply};
use crate::models::{examples, onnxruntime};

/// Runs `plimsoll init` on a shared model. Returns the folder that it wrote.
fn made(site: &TempDir, model: &Path, arguments: &[&str]) -> std::path::PathBuf {
    let folder = site.path().join("made");
    let output = init(&model.join("model.onnx"), &folder, arguments);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    folder
}

/// Changes what the file marks with `CHECK`, as its user does.
fn correct(folder: &Path, changes: &[(&str, &str)]) {
    let file = folder.join("plimsoll.toml");
    let mut config = std::fs::read_to_string(&file).expect("written");
    for (old, new) in changes {
        let line =
            config.lines().find(|line| line.starts_with(old)).unwrap_or_else(|| panic!("no {old:?} in {config}"));
        assert!(line.contains("# CHECK: "), "{line}");
        config = config.replace(line, new);
    }
    std::fs::write(file, config).expect("written");
}

#[test]
fn squeezenet_is_recognised_and_answers_rightly() {
    let Some(models) = shared("models") else { return };
    let (site, model) = (TempDir::new().expect("a folder"), models.join("squeezenet-1.0"));
    let labels = model.join("labels.txt");
    let folder = made(&site, &model, &["--labels", labels.to_str().expect("text"), "--normalisation", "raw"]);
    let config = std::fs::read_to_string(folder.join("plimsoll.toml")).expect("written");
    assert!(config.contains("plugin = \"classify-postprocess\"") && config.contains("scores = \"ready\""), "{config}");
    // The reference rounds the crop in the other way, which moves it by a pixel.
    let crop = ("resize = \"crop\"", "resize = \"crop\"\ncrop_rounding = \"nearest\"");
    correct(&folder, &[("channels = \"rgb\"", "channels = \"bgr\""), crop]);
    for (expected, image) in examples(&model) {
        let reply = served_reply(&folder.join("plimsoll.toml"), &site.path().join("data"), "model", image);
        let (best, wanted) = (&reply["predictions"][0], &expected["top5"][0]);
        assert_eq!(best["label"], wanted["label"], "{reply}");
        let difference = best["probability"].as_f64().expect("a number") - wanted["prob"].as_f64().expect("a number");
        assert!(difference.abs() < 0.05, "{}: {reply}", expected["image"]);
    }
}

#[test]
fn ultraface_is_recognised_and_answers_rightly() {
    let Some(models) = shared("models") else { return };
    let (site, model) = (TempDir::new().expect("a folder"), models.join("ultraface-rfb-320"));
    let labels = model.join("labels.txt");
    // Nothing is corrected: init knows this family.
    let folder = made(&site, &model, &["--labels", labels.to_str().expect("text")]);
    for (expected, image) in examples(&model) {
        let reply = served_reply(&folder.join("plimsoll.toml"), &site.path().join("data"), "model", image);
        let (found, wanted) = (&reply["detections"], &expected["detections"]);
        let (found, wanted) = (found.as_array().expect("a list"), wanted.as_array().expect("a list"));
        assert_eq!(found.len(), wanted.len(), "{}: {reply}", expected["image"]);
        for (found, wanted) in found.iter().zip(wanted) {
            assert_eq!(found["label"], wanted["label"]);
            for corner in 0..4 {
                let pixel = |value: &serde_json::Value| value[corner].as_f64().expect("a number");
                let difference = pixel(&found["box"]) - pixel(&wanted["box_pixels"]);
                assert!(difference.abs() < 3.0, "{}: {found}, expected {wanted}", expected["image"]);
            }
        }
    }
}

/// rten does not compute cubic interpolation as ONNX defines it.
#[test]
fn a_model_that_only_onnxruntime_can_run_gets_it_with_the_reason() {
    let site = TempDir::new().expect("a folder");
    let image = [Some(1), Some(3), Some(32), Some(32)];
    let model = Onnx::new(17)
        .input("x", &image)
        .floats("scales", &[4], &[1.0, 1.0, 2.0, 2.0])
        .node("Resize", &["x", "", "scales"], "large", &[])
        .with_texts(&[("mode", "cubic")])
        .node("GlobalAveragePool", &["large"], "y", &[])
        .output("y", &[Some(1), Some(3), Some(1), Some(1)]);
    let file = site.path().join("cubic.onnx");
    std::fs::write(&file, model.bytes()).expect("written");
    let folder = site.path().join("without");
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll-under-test"));
    command.arg("init").arg(&file).arg("--dir").arg(&folder).env_remove("ORT_DYLIB_PATH").env_remove("RUST_LOG");
    let output = command.output().expect("it starts");
    let failed = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{failed}");
    for wanted in ["no backend can run", "`rten`: ", "cubic", "`onnxruntime`: "] {
        assert!(failed.contains(wanted), "{wanted:?} is missing in: {failed}");
    }
    assert!(!folder.exists(), "nothing is written");

    let Some(library) = onnxruntime() else { return };
    let folder = site.path().join("with");
    let output = init(&file, &folder, &["--normalisation", "unit"]);
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{printed}{}", text(&output.stderr));
    assert!(printed.contains("Backend: onnxruntime\n  not `rten`: ") && printed.contains("cubic"), "{printed}");
    let config = std::fs::read_to_string(folder.join("plimsoll.toml")).expect("written");
    let wanted = format!("[backends.onnxruntime]\nlibrary = {:?}\n", library.to_str().expect("text"));
    assert!(config.contains(&wanted) && config.contains("backend = \"onnxruntime\"\n# `rten`: "), "{config}");
    // White stays white, whatever the interpolation.
    let mut png = std::io::Cursor::new(Vec::new());
    let pixels = image::RgbImage::from_pixel(8, 8, image::Rgb([255; 3]));
    pixels.write_to(&mut png, image::ImageFormat::Png).expect("written");
    correct(&folder, &[("scores = ", "scores = \"logits\"")]);
    let reply = served_reply(&folder.join("plimsoll.toml"), &site.path().join("data"), "cubic", png.into_inner());
    for class in reply["predictions"].as_array().expect("a list") {
        let probability = class["probability"].as_f64().expect("a number");
        assert!((probability - 1.0 / 3.0).abs() < 1e-3, "{reply}");
    }
}
