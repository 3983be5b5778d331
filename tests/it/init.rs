//! `plimsoll init`: from a model to a folder that serves the right answers.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use plimsoll::config::{Config, Stage, text_of};
use plimsoll_tests::{TempDir, onnx::Onnx};
use serde_json::Value;

use crate::cli::text;
use crate::init_assumptions::assumptions;
use crate::oip_conformance::environment;
use crate::process::Process;

const BINARY: &str = env!("CARGO_BIN_EXE_plimsoll-under-test");

/// Runs `plimsoll init`. All folders share a data folder, so each plugin is compiled once.
pub(crate) fn init(model: &Path, folder: &Path, arguments: &[&str]) -> Output {
    let data = folder.parent().expect("a parent").join("data");
    let mut command = Command::new(BINARY);
    command.arg("init").arg(model).arg("--dir").arg(folder).args(arguments);
    command.env("PLIMSOLL_DATA_DIR", data).env_remove("RUST_LOG").output().expect("the binary starts")
}

/// Generates the models. Returns `None` if Python is missing.
fn generate(folder: &Path) -> Option<Vec<Value>> {
    let python = environment("requirements-init.txt")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/init_models");
    let output =
        Command::new(python).env("PYTHONDONTWRITEBYTECODE", "1").arg(script).arg(folder).output().expect("it starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let index = std::fs::read(folder.join("index.json")).expect("an index");
    Some(serde_json::from_slice(&index).expect("a list"))
}

/// The first difference between a reply and the expected one, if there is one.
fn difference(found: &Value, expected: &Value, path: &str) -> Option<String> {
    match (found, expected) {
        (Value::Object(a), Value::Object(b)) if a.len() == b.len() => b
            .iter()
            .find_map(|(key, value)| difference(a.get(key).unwrap_or(&Value::Null), value, &format!("{path}.{key}"))),
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(index, (a, b))| difference(a, b, &format!("{path}[{index}]")))
        }
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().expect("a number"), b.as_f64().expect("a number"));
            // The references do not round pixels, as the plugin does not. Its weights of pixels have 14 bits, which moves a box of
            // these models by up to 0.001 pixels; pixels that are rounded to whole levels move it by 0.12.
            ((a - b).abs() > 0.004).then(|| format!("{path} is {a} instead of {b}"))
        }
        (a, b) => (a != b).then(|| format!("{path} is {a} instead of {b}")),
    }
}

fn setting(stages: &[&Stage], key: &str) -> Option<String> {
    stages.iter().find_map(|stage| stage.config.get(key)).map(text_of)
}

/// The reply of a server of the folder to an image: `plimsoll serve`, and a POST.
pub(crate) fn served_reply(config: &Path, data: &Path, pipeline: &str, image: Vec<u8>) -> Value {
    let [config, data] = [config, data].map(|path| path.to_str().expect("text"));
    let server = Process::serve(&["--config", config, "--data-dir", data, "--listen", "127.0.0.1:0"]);
    let url = format!("{}/v1/pipelines/{pipeline}/infer", server.url());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (status, text) = runtime.block_on(async {
        let reply = reqwest::Client::new().post(url).body(image).send().await.expect("a reply");
        (reply.status(), reply.text().await.expect("text"))
    });
    assert_eq!(status, 200, "{pipeline}: {text}");
    serde_json::from_str(&text).expect("JSON")
}

/// A model takes five seconds. So by default, the test runs only the models whose answers are compared, and every third of
/// the others. It runs all of them if `PLIMSOLL_INIT` is `all`.
#[test]
fn each_family_of_models_becomes_a_folder_that_serves_right_answers() {
    let site = TempDir::new().expect("a folder");
    let models = site.path().join("models");
    let Some(index) = generate(&models) else { return };
    let all = std::env::var_os("PLIMSOLL_INIT").is_some_and(|wanted| wanted == "all");
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for (number, case) in index.iter().enumerate() {
        if !all && case["expected"].is_null() && number % 3 != 0 {
            continue;
        }
        let file = case["model"].as_str().expect("a name");
        let name = file.trim_end_matches(".onnx");
        let folder = site.path().join(name);
        let arguments: Vec<_> =
            case["arguments"].as_array().expect("a list").iter().map(|it| it.as_str().expect("text")).collect();
        let output = init(&models.join(file), &folder, &arguments);
        let (printed, failed) = (text(&output.stdout), text(&output.stderr));
        if !output.status.success() {
            wrong.push(format!(
                "{name}: {failed}\n{}",
                std::fs::read_to_string(folder.join("plimsoll.toml")).unwrap_or_default()
            ));
            continue;
        }
        assert!(printed.contains("Reply to the bundled sample"), "{name}: {printed}");
        let assumed = assumptions(&folder, &printed);
        let is_gray = case["settings"]["channels"] == "gray";
        for key in ["resize", "channels"].into_iter().filter(|key| *key == "resize" || !is_gray) {
            if !assumed.iter().any(|(assumed, _)| assumed == key) {
                wrong.push(format!("{name}: {key} is not stated as an assumption: {printed}"));
            }
        }
        let path = folder.join("plimsoll.toml");
        let config = Config::load(Some(&path)).expect("a configuration");
        assert!(std::fs::read_to_string(&path).expect("text").starts_with("#:schema ./plimsoll.schema.json\n"));
        let schema = std::fs::read(folder.join("plimsoll.schema.json")).expect("a schema");
        assert_eq!(serde_json::from_slice::<Value>(&schema).expect("JSON"), Config::schema());
        let pipeline = &config.pipelines[name];
        // Both have a key `layout`.
        let stages = [&pipeline.postprocess, &pipeline.preprocess].map(|stage| stage.as_ref().expect("written"));
        if stages[0].plugin != case["plugin"].as_str().expect("text") {
            wrong.push(format!("{name}: it has the plugin {}", stages[0].plugin));
        }
        for (key, value) in case["settings"].as_object().expect("a table") {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if setting(&stages, key).as_ref() != Some(&value) {
                wrong.push(format!("{name}: {key} is {:?} instead of {value}", setting(&stages, key)));
            }
        }
        if case["expected"].is_null() {
            continue;
        }
        let image = std::fs::read(models.join(case["image"].as_str().expect("a name"))).expect("listed");
        let mut reply = served_reply(&path, &site.path().join("data"), name, image);
        // Of boxes with nearly the same score, another one may come first.
        let found = reply.get_mut("detections").and_then(Value::as_array_mut);
        if let (Some(found), Some(expected)) = (found, case["expected"]["detections"].as_array()) {
            found.truncate(expected.len());
        }
        compared += 1;
        wrong.extend(difference(&reply, &case["expected"], name));
    }
    println!("{} models, {compared} answers compared with Pillow, onnxruntime and numpy", index.len());
    assert!(wrong.is_empty(), "{} of {} models:\n{}", wrong.len(), index.len(), wrong.join("\n"));
    assert!(index.len() >= 22 && compared >= 10);
}

/// A model in a separate folder.
fn model(model: &Onnx) -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, model.bytes()).expect("written");
    (folder, path)
}

/// The message of `plimsoll init`, which must fail without writing anything.
fn refusal(path: &Path, arguments: &[&str]) -> String {
    let folder = path.with_file_name("made");
    let output = init(path, &folder, arguments);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    assert!(!folder.exists(), "nothing is written");
    text(&output.stderr)
}

#[test]
fn a_model_that_is_not_for_images_is_refused_with_its_inputs() {
    for (shape, wanted) in [
        (&[Some(1), Some(128)][..], "[1, channels, height, width]"),
        (&[Some(8), Some(3), Some(32), Some(32)], "its number of images is fixed"),
        (&[Some(1), Some(7), Some(32), Some(32)], "1 or 3 channels"),
    ] {
        let (_folder, path) = model(&Onnx::new(17).input("x", shape).output("y", shape).node("Relu", &["x"], "y", &[]));
        let message = refusal(&path, &[]);
        assert!(message.contains("`x` (FLOAT [") && message.contains(wanted), "{message}");
    }
    let (_folder, path) =
        model(&Onnx::new(17).input("a", &[Some(1)]).input("b", &[Some(1)]).output("y", &[Some(1)]).node(
            "Add",
            &["a", "b"],
            "y",
            &[],
        ));
    let message = refusal(&path, &[]);
    assert!(message.contains("`a`") && message.contains("`b`") && message.contains("plugin new"), "{message}");
}

#[test]
fn what_the_user_states_must_fit_the_model() {
    let image = [Some(1), Some(3), Some(32), Some(32)];
    let scores = [Some(1), Some(3), Some(1), Some(1)];
    let (folder, path) =
        model(&Onnx::new(17).input("x", &image).output("y", &scores).node("GlobalAveragePool", &["x"], "y", &[]));
    let labels = folder.path().join("labels.txt");
    std::fs::write(&labels, "a\nb\n").expect("written");
    let message = refusal(&path, &["--labels", labels.to_str().expect("text")]);
    assert!(message.contains("it has 2 labels, and the model has 3 classes"), "{message}");
    let message = refusal(&path, &["--size", "64x64"]);
    assert!(message.contains("fixes its input to 32x32"), "{message}");
    let text = folder.path().join("notes.onnx");
    std::fs::write(&text, "notes").expect("written");
    assert!(refusal(&text, &[]).contains("is not an ONNX model"));

    let made = folder.path().join("made");
    let output = init(&path, &made, &["--normalisation", "imagenet"]);
    assert!(output.status.success(), "{}", crate::cli::text(&output.stderr));
    let again = init(&path, &made, &[]);
    assert_eq!(again.status.code(), Some(1));
    assert!(crate::cli::text(&again.stderr).contains("is already there"), "{}", crate::cli::text(&again.stderr));
}

#[test]
fn weights_behind_a_link_that_leaves_the_folder_are_refused() {
    let site = TempDir::new().expect("a folder");
    let (models, folder) = (site.path().join("models"), site.path().join("made"));
    std::fs::create_dir(&models).expect("created");
    let shape = [Some(1), Some(3), Some(8), Some(8)];
    let model = Onnx::new(13)
        .input("x", &shape)
        .stored("w", &[1], rten_onnx::onnx::DataType::FLOAT, "w.bin")
        .node("Add", &["x", "w"], "y", &[])
        .output("y", &shape);
    let path = models.join("model.onnx");
    std::fs::write(&path, model.bytes()).expect("written");
    std::fs::write(site.path().join("secret.bin"), 1.0_f32.to_le_bytes()).expect("written");
    std::os::unix::fs::symlink(site.path().join("secret.bin"), models.join("w.bin")).expect("linked");
    let output = init(&path, &folder, &[]);
    let failed = text(&output.stderr);
    assert!(
        !output.status.success() && failed.contains("w.bin is a link to a file outside of the model's"),
        "{failed}"
    );
    assert!(!folder.exists(), "nothing is made");
}
