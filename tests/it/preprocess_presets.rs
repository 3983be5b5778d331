//! The presets of `image-preprocess` prepare images as the projects do that they are named after.

use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{Server, TempDir, guest};
use serde_json::Value;

use crate::postprocess_cases::{CASES, python};

/// A configuration with a pipeline for each `config` of `image-preprocess`, named `p0`, `p1` and so on, whose reply is the
/// tensor.
fn pipelines(configs: &[&str]) -> String {
    let mut toml = format!("[plugins.noop-infer]\nfile = {:?}\n", guest("noop-infer"));
    for (index, config) in configs.iter().enumerate() {
        toml += &format!(
            "[pipelines.p{index}.preprocess]\nplugin = \"image-preprocess\"\nconfig = {{ {config} }}\n\
             [pipelines.p{index}.chips.c]\nplugin = \"noop-infer\"\n[pipelines.p{index}.postprocess]\n\
             plugin = \"tensors-postprocess\"\nconfig = {{ format = \"npz\" }}\n"
        );
    }
    toml
}

#[tokio::test(flavor = "multi_thread")]
async fn presets_are_those_of_torchvision_clip_ultralytics_and_keras() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().to_str().expect("text").to_owned();
    let make = move || python("presets", &["make", &path, "--count", &CASES.to_string()]);
    if tokio::task::spawn_blocking(make).await.expect("no panic").is_none() {
        return;
    }
    let index = std::fs::read(folder.path().join("index.json")).expect("an index");
    let index: Vec<Value> = serde_json::from_slice(&index).expect("a list");
    let configs: Vec<_> = index.iter().map(|it| it["config"].as_str().expect("text")).collect();
    let server = Server::start(&pipelines(&configs)).await;
    for (pipeline, it) in index.iter().enumerate() {
        for case in it["cases"].as_array().expect("a list") {
            let name = case.as_str().expect("a name");
            let body = std::fs::read(folder.path().join(format!("{name}.png"))).expect("listed");
            let reply = server.infer(&format!("p{pipeline}"), "", body).await;
            assert_eq!(reply.status, 200, "{}: {}", configs[pipeline], reply.text);
            std::fs::write(folder.path().join(format!("{name}.npz")), reply.bytes).expect("written");
        }
    }
    let path = folder.path().to_str().expect("text").to_owned();
    let check = move || python("presets", &["check", &path]);
    let report = tokio::task::spawn_blocking(check).await.expect("no panic").expect("Python is there");
    println!("{report}");
    assert!(report.starts_with(&format!("{CASES} tensors, 0 are wrong")), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn presets_that_cannot_work_are_refused() {
    for (config, wanted) in [
        ("preset = \"resnet\"", "is not one of imagenet, clip, yolo, tf, caffe"),
        ("preset = \"tf\"", "`width` is missing"),
        ("preset = \"imagenet\", channels = \"gray\"", "`imagenet` has numbers for three colours"),
        ("preset = \"imagenet\", resize_shorter = 100", "`resize_shorter`: 100 is smaller"),
        ("preset = \"imagenet\", pad = 3", "`pad` can only be used with `resize = \"letterbox\"`"),
        ("preset = \"yolo\", dtype = \"u8\"", "`yolo` makes numbers from bytes"),
    ] {
        let message = Server::rejection(&pipelines(&[config])).await;
        assert!(message.contains(wanted), "{config}: {wanted:?} is missing in: {message}");
    }
}

/// What a model declares comes before the preset: its size and its layout.
#[tokio::test(flavor = "multi_thread")]
async fn a_preset_does_not_change_what_the_model_declares() {
    let folder = TempDir::new().expect("a folder");
    let shape = [Some(1), Some(3), Some(32), Some(48)];
    let model = Onnx::new(17).input("x", &shape).output("y", &shape).node("Identity", &["x"], "y", &[]);
    let file = folder.path().join("model.onnx");
    std::fs::write(&file, model.bytes()).expect("written");
    let toml = format!(
        "[models.m]\nfile = {file:?}\n[pipelines.p]\nmodel = \"m\"\n[pipelines.p.preprocess]\nplugin = \"image-preprocess\"\n\
         config = {{ preset = \"caffe\", resize = \"letterbox\", pad = 7 }}\n[pipelines.p.chips.c]\nplugin = \"infer-native\"\n\
         [pipelines.p.postprocess]\nplugin = \"tensors-postprocess\"\n"
    );
    let server = Server::start(&toml).await;
    let image = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/data/digits/7.jpg")).expect("there");
    let reply = server.infer("p", "", image).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let output = &reply.json()["outputs"][0];
    assert_eq!(output["shape"], serde_json::json!([1, 3, 32, 48]));
    // The border of the first channel, which is blue.
    let first = output["data"][0].as_f64().expect("a number");
    assert!((first - (7.0 - 103.939)).abs() < 1e-4, "{first}");
}
