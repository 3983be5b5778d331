//! Two real pretrained models as pipelines, compared with their reference outputs. The tolerances allow for another
//! resizer.

use std::path::{Path, PathBuf};

use plimsoll_tests::{Server, shared};

/// The library of the second backend, if the variable `ORT_DYLIB_PATH` names it.
pub(crate) fn onnxruntime() -> Option<PathBuf> {
    let path = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from).filter(|path| path.is_file());
    if path.is_none() {
        plimsoll_tests::skip("the backend onnxruntime: ORT_DYLIB_PATH does not name a library");
    }
    path
}

pub(crate) fn config(models: &Path, backend: &str, library: Option<&Path>) -> String {
    let library = library.map_or(String::new(), |path| format!("[backends.onnxruntime]\nlibrary = {path:?}\n"));
    let models = models.display();
    // Inference in the guest does not depend on the backend, so it is tested once.
    let wasm = |pipeline: &str| match backend {
        "rten" => format!("[pipelines.{pipeline}.chips.wasm]\nplugin = \"infer-wasm\"\n"),
        _ => String::new(),
    };
    let (wasm_faces, wasm_things) = (wasm("faces"), wasm("things"));
    format!(
        r#"{library}
[models.ultraface]
file = "{models}/ultraface-rfb-320/model.onnx"
backend = "{backend}"
[models.squeezenet]
file = "{models}/squeezenet-1.0/model.onnx"
backend = "{backend}"

[pipelines.faces]
model = "ultraface"
default_chip = "cpu"
[pipelines.faces.preprocess]
plugin = "image-preprocess"
config = {{ width = 320, height = 240, mean = 127, scale = 0.0078125, input = "input" }}
[pipelines.faces.chips.cpu]
plugin = "infer-native"
{wasm_faces}[pipelines.faces.postprocess]
plugin = "detect-postprocess"
config = {{ labels = "labels.txt" }}
assets = {{ "labels.txt" = "{models}/ultraface-rfb-320/labels.txt" }}

[pipelines.things]
model = "squeezenet"
default_chip = "cpu"
[pipelines.things.preprocess]
plugin = "image-preprocess"
config = {{ width = 224, height = 224, resize = "crop", resize_shorter = 256, crop_rounding = "nearest", channels = "bgr", input = "data_0" }}
[pipelines.things.chips.cpu]
plugin = "infer-native"
{wasm_things}[pipelines.things.postprocess]
plugin = "classify-postprocess"
config = {{ scores = "ready", labels = "labels.txt" }}
assets = {{ "labels.txt" = "{models}/squeezenet-1.0/labels.txt" }}
"#
    )
}

pub(crate) fn examples(folder: &Path) -> Vec<(serde_json::Value, Vec<u8>)> {
    let entries = std::fs::read_dir(folder.join("examples")).expect("examples");
    entries
        .map(|entry| {
            let folder = entry.expect("readable").path();
            let expected = std::fs::read(folder.join("expected.json")).expect("present");
            let expected: serde_json::Value = serde_json::from_slice(&expected).expect("JSON");
            let image = std::fs::read(folder.join(expected["image"].as_str().expect("a name"))).expect("present");
            (expected, image)
        })
        .collect()
}

async fn check(models: &Path, backend: &str, library: Option<&Path>) {
    let server = Server::start(&config(models, backend, library)).await;
    let chips: Vec<String> = server.app.pipeline("faces").expect("served").chips.keys().cloned().collect();
    for chip in chips {
        check_chip(&server, models, &format!("?chip={chip}")).await;
    }
}

async fn check_chip(server: &Server, models: &Path, backend: &str) {
    for (expected, image) in examples(&models.join("squeezenet-1.0")) {
        let reply = server.infer("things", backend, image).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let (best, wanted) = (&reply.json()["predictions"][0], &expected["top5"][0]);
        assert_eq!(best["label"], wanted["label"], "{backend}: {}", reply.text);
        let difference = best["probability"].as_f64().expect("a number") - wanted["prob"].as_f64().expect("a number");
        assert!(difference.abs() < 0.05, "{backend} {}: {difference}", expected["image"]);
    }
    for (expected, image) in examples(&models.join("ultraface-rfb-320")) {
        let reply = server.infer("faces", backend, image).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let (found, wanted) = (&reply.json()["detections"], &expected["detections"]);
        let (found, wanted) = (found.as_array().expect("a list"), wanted.as_array().expect("a list"));
        assert_eq!(found.len(), wanted.len(), "{backend} {}: {}", expected["image"], reply.text);
        for (found, wanted) in found.iter().zip(wanted) {
            assert_eq!(found["label"], wanted["label"]);
            for corner in 0..4 {
                let pixel = |value: &serde_json::Value| value[corner].as_f64().expect("a number");
                let difference = pixel(&found["box"]) - pixel(&wanted["box_pixels"]);
                assert!(difference.abs() < 3.0, "{backend} {}: {found}, expected {wanted}", expected["image"]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faces_and_things_are_found_on_rten() {
    let Some(models) = shared("models") else { return };
    check(&models, "rten", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faces_and_things_are_found_on_onnxruntime() {
    let (Some(models), Some(library)) = (shared("models"), onnxruntime()) else { return };
    check(&models, "onnxruntime", Some(&library)).await;
}

/// A missing GPU must not be replaced silently by the CPU.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_an_unavailable_target_is_rejected() {
    let Some(models) = shared("models") else { return };
    let at = |backend: &str, target: &str, library: Option<&Path>| {
        let backend_line = format!("backend = \"{backend}\"\n");
        config(&models, backend, library).replacen(&backend_line, &format!("{backend_line}target = \"{target}\"\n"), 1)
    };
    let message = Server::rejection(&at("rten", "cuda", None)).await;
    assert!(message.contains("models.ultraface: target: the backend `rten` runs on the CPU only"), "{message}");
    let message = Server::rejection(&at("rten", "gpu", None)).await;
    assert!(message.contains("`gpu` is not a valid target") && message.contains("cuda:N"), "{message}");
    let Some(library) = onnxruntime() else { return };
    let message = Server::rejection(&at("onnxruntime", "cuda:1", Some(&library))).await;
    assert!(message.contains("target `cuda:1`") && message.contains("onnxruntime-gpu"), "{message}");
}

/// The network sees the same face with other proportions, so its box moves slightly. A wrong transformation from the
/// letterbox back to the image would move it by the border, which is a sixth of the image's side.
#[tokio::test(flavor = "multi_thread")]
async fn boxes_from_a_letterbox_are_in_pixels_of_the_original_image() {
    let Some(models) = shared("models") else { return };
    let toml =
        config(&models, "rten", None).replace("height = 240,", "height = 240, resize = \"letterbox\", pad = 127,");
    assert!(toml.contains("letterbox"));
    let server = Server::start(&toml).await;
    let mut boxes = 0;
    for (expected, image) in examples(&models.join("ultraface-rfb-320")) {
        let reply = server.infer("faces", "", image).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let found = reply.json()["detections"].as_array().expect("a list").clone();
        let wanted = expected["detections"].as_array().expect("a list");
        assert_eq!(found.len(), wanted.len(), "{}: {}", expected["image"], reply.text);
        let side = expected["image_size"][0].as_f64().expect("pixels");
        for (found, wanted) in found.iter().zip(wanted) {
            for corner in 0..4 {
                let difference = found["box"][corner].as_f64().expect("a number")
                    - wanted["box_pixels"][corner].as_f64().expect("a number");
                assert!(difference.abs() < side / 16.0, "{}: {found}, expected {wanted}", expected["image"]);
                boxes += 1;
            }
        }
    }
    assert_eq!(boxes, 8, "two faces with four corners each");
}
