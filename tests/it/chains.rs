//! Pipelines of several models, compared with the same chain in Python (Pillow, onnxruntime): faces are found, cut out and
//! classified; texts are found by their corners, straightened and read. `tests/conformance/chains` has the references.

use std::path::{Path, PathBuf};
use std::process::Command;

use plimsoll_tests::{Server, TempDir, guest, shared};
use serde_json::{Value, json};

use crate::models::onnxruntime;
use crate::oip_conformance::environment;
use crate::steps_pipelines::{GATHER, IN, plugins};

/// Runs the script with the reference. `None` if Python is missing.
async fn python(action: &'static str, suite: &'static str, out: &Path, models: Option<&Path>) -> Option<()> {
    let (out, models) = (out.to_owned(), models.map(Path::to_owned));
    let run = move || {
        let python = environment("requirements-chains.txt")?;
        let mut command = Command::new(python);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/chains")).args([action, suite]);
        command.arg(out).args(models);
        let output = command.output().expect("it starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("{text}");
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        Some(())
    };
    tokio::task::spawn_blocking(run).await.expect("no panic")
}

/// Posts each picture of a suite and has the replies checked. Without a `pipeline`, the name of a picture begins with it.
async fn compare(server: &Server, pipeline: &str, suite: &'static str, out: &Path, models: Option<&Path>) {
    let index: Vec<String> =
        serde_json::from_slice(&std::fs::read(out.join("index.json")).expect("an index")).expect("names");
    for name in index {
        let own = name.trim_end_matches(|letter: char| !letter.is_ascii_digit()).trim_end_matches(char::is_numeric);
        let pipeline = if pipeline.is_empty() { own } else { pipeline };
        let reply = server.infer(pipeline, "", std::fs::read(out.join(&name)).expect("made")).await;
        assert_eq!(reply.status, 200, "{name}: {}", reply.text);
        std::fs::write(out.join(format!("{name}.json")), &reply.text).expect("written");
    }
    python("check", suite, out, models).await.expect("it was there before");
}

/// The backends: with `onnxruntime` only if its library is there.
fn backends() -> Vec<(&'static str, String)> {
    let library = |path: PathBuf| {
        ("onnxruntime", format!("[backends.onnxruntime]\nlibrary = {:?}\n", path.display().to_string()))
    };
    std::iter::once(("rten", String::new())).chain(onnxruntime().map(library)).collect()
}

/// A pipeline that finds faces and classifies each. `maker` are more keys of the step `crop`.
fn faces(name: &str, maker: &str, between: &str, models: &Path) -> String {
    let models = models.display();
    format!(
        r#"
[[pipelines.{name}.steps]]
name = "prepare"
kind = "preprocess"
plugin = "image-preprocess"
config = {{ mean = 127, scale = 0.0078125, picture = true }}
[[pipelines.{name}.steps]]
name = "detect"
kind = "infer"
plugin = "infer-native"
model = "ultraface"
from = ["prepare.input"]
[[pipelines.{name}.steps]]
name = "crop"
kind = "transform"
plugin = "crop-transform"
from = ["detect", "prepare.picture"]
items = true
{maker}
config = {{ margin = 0.25, square = true, channels = "bgr", labels = "faces.txt"{input} }}
assets = {{ "faces.txt" = "{models}/ultraface-rfb-320/labels.txt" }}
{between}
[[pipelines.{name}.steps]]
name = "classify"
kind = "infer"
plugin = "infer-native"
model = "squeezenet"
[[pipelines.{name}.steps]]
name = "reply"
kind = "postprocess"
plugin = "classify-postprocess"
gather = true
config = {{ items = true, scores = "ready", top_k = 3, labels = "labels.txt" }}
assets = {{ "labels.txt" = "{models}/squeezenet-1.0/labels.txt" }}
"#,
        // A step between hides what the model declares.
        input = if between.is_empty() { "" } else { ", input = \"data_0\", width = 224, height = 224" }
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn faces_are_found_cut_out_and_classified_as_in_python() {
    let Some(models) = shared("models") else { return };
    let out = TempDir::new().expect("a folder");
    if python("make", "faces", out.path(), Some(&models)).await.is_none() {
        return;
    }
    let path = models.display();
    for (backend, library) in backends() {
        let each = r#"
[[pipelines.bad.steps]]
name = "each"
kind = "transform"
plugin = "transformer"
config = { parameter = "each" }
"#;
        let text = format!(
            "{library}[models.ultraface]\nfile = \"{path}/ultraface-rfb-320/model.onnx\"\nbackend = \"{backend}\"\n\
             [models.squeezenet]\nfile = \"{path}/squeezenet-1.0/model.onnx\"\nbackend = \"{backend}\"\n\
             [plugins.transformer]\nfile = {:?}\n{}{}{}",
            guest("transformer"),
            faces("people", "", "", &models),
            faces("bad", "partial = true", each, &models),
            faces("whole", "", &each.replace("bad", "whole"), &models),
        );
        let server = Server::start(&text).await;
        compare(&server, "people", "faces", out.path(), Some(&models)).await;
        one_bad_item(&server, &std::fs::read(out.path().join("many.png")).expect("made")).await;
    }
}

/// A step fails for one of many faces.
async fn one_bad_item(server: &Server, picture: &[u8]) {
    let good = server.infer("people", "", picture.to_vec()).await.json();
    let items = good["items"].as_array().expect("items");
    let wrong = 3;
    let query =
        format!("?each=fail&holding={}", items[wrong]["box"].to_string().replace('[', "%5B").replace(']', "%5D"));
    let reply = server.infer("bad", &query, picture.to_vec()).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let found = reply.json();
    for (at, (item, expected)) in found["items"].as_array().expect("items").iter().zip(items).enumerate() {
        if at != wrong {
            assert_eq!(item, expected, "item {at}");
            continue;
        }
        let error = json!({ "step": "each", "outcome": "invalid_input", "message": "transform fails as requested" });
        let mut failed = expected.clone();
        failed.as_object_mut().expect("an object").remove("predictions");
        failed["error"] = error;
        assert_eq!(*item, failed, "what is known of the item is in the reply");
    }
    let problem = server.infer("whole", &query, picture.to_vec()).await;
    assert_eq!((problem.status, problem.json()["item"].clone()), (422, json!(wrong)), "{}", problem.text);
    assert_eq!(problem.json()["stage"], "each", "{}", problem.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_are_found_straightened_and_read_as_in_python() {
    let out = TempDir::new().expect("a folder");
    if python("make", "texts", out.path(), None).await.is_none() {
        return;
    }
    let path = out.path().display();
    for (backend, library) in backends() {
        let text = format!(
            r#"{library}
[models.detector]
file = "{path}/detector.onnx"
backend = "{backend}"
[models.recogniser]
file = "{path}/recogniser.onnx"
backend = "{backend}"
max_batch = 8

[[pipelines.texts.steps]]
name = "prepare"
kind = "preprocess"
plugin = "image-preprocess"
config = {{ picture = true }}
[[pipelines.texts.steps]]
name = "detect"
kind = "infer"
plugin = "infer-native"
model = "detector"
from = ["prepare.image"]
[[pipelines.texts.steps]]
name = "straighten"
kind = "transform"
plugin = "crop-transform"
from = ["detect", "prepare.picture"]
items = true
config = {{ detector = "points", points = "corners", channels = "gray", scale = 0.00392156862745098 }}
[[pipelines.texts.steps]]
name = "read"
kind = "infer"
plugin = "infer-native"
model = "recogniser"
[[pipelines.texts.steps]]
name = "reply"
kind = "postprocess"
plugin = "text-postprocess"
gather = true
config = {{ items = true, dictionary = "letters.txt" }}
assets = {{ "letters.txt" = "{path}/letters.txt" }}
"#
        );
        let server = Server::start(&text).await;
        compare(&server, "texts", "texts", out.path(), None).await;
        let reply = server.infer("texts", "", std::fs::read(out.path().join("texts0.png")).expect("made")).await.json();
        let item: &Value = &reply["items"][0];
        assert!(item["box"].is_array() && item["score"].is_number() && item["label"].is_null(), "{item}");
    }
}

/// `crop-transform` alone: resized boxes, and faces by five points, pixel by pixel.
#[tokio::test(flavor = "multi_thread")]
async fn crops_have_the_pixels_of_pillow() {
    let out = TempDir::new().expect("a folder");
    if python("make", "crops", out.path(), None).await.is_none() {
        return;
    }
    let pipeline = |name: &str, config: &str| {
        format!(
            "[pipelines.{name}]\nsteps = [\n{IN},\n{{ name = \"crop\", kind = \"transform\", plugin = \"crop-transform\", \
             items = true, config = {{ dtype = \"u8\", layout = \"nhwc\", {config} }} }},\n{GATHER}\n]\n"
        )
    };
    let text = plugins()
        + &pipeline("boxes", "detector = \"end-to-end\", width = 48, height = 32")
        + &pipeline("faces", "detector = \"points\", scores = \"\", warp = \"similarity\", width = 112, height = 112");
    let server = Server::start(&text).await;
    compare(&server, "", "crops", out.path(), None).await;
}
