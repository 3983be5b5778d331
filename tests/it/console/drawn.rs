//! Replies of other forms on the screen `Try it`: poses, texts and vectors.

use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{Server, TempDir};
use serde_json::json;

use super::{check_clean, choose};
use crate::browser::Browser;

/// A model whose output is always the same.
fn constant(folder: &TempDir, name: &str, shape: &[i64], values: &[f32]) -> String {
    let declared: Vec<_> = shape.iter().copied().map(Some).collect();
    let model = Onnx::new(13)
        .input("image", &[1, 1, 32, 64].map(Some))
        .floats("zero", &[], &[0.0])
        .floats("values", shape, values)
        .node("ReduceSum", &["image"], "sum", &[("keepdims", 0)])
        .node("Mul", &["sum", "zero"], "nothing", &[])
        .node("Add", &["nothing", "values"], "output", &[])
        .output("output", &declared);
    let path = folder.path().join(name);
    std::fs::write(&path, model.bytes()).expect("written");
    format!("[models.{name}]\nfile = {path:?}\n")
}

fn pipeline(name: &str, plugin: &str, config: &str) -> String {
    format!(
        "[pipelines.{name}]\nmodel = \"{name}\"\n[pipelines.{name}.preprocess]\nplugin = \"image-preprocess\"\nconfig = {{ width = 64, \
         height = 32, channels = \"gray\" }}\n[pipelines.{name}.chips.native]\nplugin = \"infer-native\"\n\
         [pipelines.{name}.postprocess]\nplugin = \"{plugin}\"\n{config}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn poses_texts_and_vectors_are_drawn() {
    let folder = TempDir::new().expect("a folder");
    let asset = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("written");
        format!("assets = {{ \"{name}\" = {:?} }}", folder.path().join(name))
    };
    // A person in the middle, with two keypoints, in pixels of the input of 64 x 32.
    let pose = [16.0, 8.0, 48.0, 24.0, 0.9, 0.0, 24.0, 12.0, 0.8, 40.0, 20.0, 0.7];
    // Three steps: `h`, the blank, `i`.
    let text = [-4.0, 6.0, -4.0, 6.0, -4.0, -4.0, -4.0, -4.0, 6.0];
    let config = [
        constant(&folder, "pose", &[1, 1, 12], &pose),
        constant(&folder, "text", &[1, 3, 3], &text),
        constant(&folder, "vector", &[1, 2], &[3.0, 4.0]),
        pipeline(
            "pose",
            "pose-postprocess",
            &format!(
                "config = {{ layout = \"end-to-end\", keypoints = \"points.txt\" }}\n{}",
                asset("points.txt", "nose\ntail\n")
            ),
        ),
        pipeline(
            "text",
            "text-postprocess",
            &format!("config = {{ dictionary = \"letters.txt\" }}\n{}", asset("letters.txt", "h\ni\n")),
        ),
        pipeline("vector", "embed-postprocess", ""),
    ];
    let server = Server::start(&config.concat()).await;
    let picture = folder.path().join("picture.png");
    image::RgbImage::from_pixel(400, 200, image::Rgb([40, 60, 80])).save(&picture).expect("written");
    let Some(mut browser) = Browser::start() else { return };
    browser.open(&format!("{}/#/try", server.url));
    for (name, words) in [("pose", "1 of 1"), ("text", "confidence"), ("vector", "2 dimensions: 0.6000, 0.8000")] {
        browser.find("combobox", "Pipeline");
        browser.eval(&format!("pipeline.value = '{name}'; pipeline.dispatchEvent(new Event('change'))"));
        choose(&mut browser, &picture);
        browser.wait_for_text(&format!("/v1/pipelines/{name}/infer"));
        browser.wait_for_text(words);
        match name {
            "pose" => {
                let circles = "[...document.querySelectorAll('.boxes circle')].map((it) => [it.cx.baseVal.value, it.cy.baseVal.value, it.textContent])";
                assert_eq!(browser.eval(circles), json!([[150, 75, "nose"], [250, 125, "tail"]]));
                let rect = "(({ x, y, width, height }) => [x, y, width, height].map((it) => it.baseVal.value))(document.querySelector('.boxes rect'))";
                assert_eq!(browser.eval(rect), json!([100, 50, 200, 100]));
            }
            "text" => assert!(
                browser
                    .eval("document.querySelector('p.text').textContent")
                    .as_str()
                    .is_some_and(|it| it.starts_with("hi "))
            ),
            _ => {}
        }
    }
    check_clean(&mut browser, &server);
}
