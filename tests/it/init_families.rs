//! `plimsoll init` on models of other kinds: what decides about scores, names of classes in several forms, inputs of other
//! types and sizes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use plimsoll_tests::{TempDir, onnx::Onnx};
use rten_onnx::onnx::DataType;

use crate::cli::text;
use crate::init_assumptions::assumptions;

pub(crate) const IMAGE: [Option<i64>; 4] = [Some(1), Some(3), Some(64), Some(64)];

/// A folder with models.
pub(crate) struct Site(TempDir);

impl Site {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    }

    /// Runs `plimsoll init` with the code that other tests have compiled.
    pub(crate) fn init(&self, name: &str, model: &Onnx, arguments: &[&str]) -> (Output, PathBuf) {
        let (file, folder) = (self.write(&format!("{name}.onnx"), model.bytes()), self.0.path().join(name));
        let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll-under-test"));
        command.arg("init").arg(file).arg("--dir").arg(&folder).args(arguments).env_remove("RUST_LOG");
        command.env("PLIMSOLL_CACHE_DIR", plimsoll_tests::shared_cache());
        (command.output().expect("it starts"), folder)
    }

    /// What `plimsoll init` prints, and the configuration.
    pub(crate) fn made(&self, name: &str, model: &Onnx, arguments: &[&str]) -> (String, String, PathBuf) {
        let (output, folder) = self.init(name, model, arguments);
        let printed = text(&output.stdout);
        assert!(output.status.success(), "{name}: {printed}{}", text(&output.stderr));
        assert!(printed.contains("Reply to the bundled sample"), "{name}: {printed}");
        let config = std::fs::read_to_string(folder.join("plimsoll.toml")).expect("written");
        (printed, config, folder)
    }

    /// The message of `plimsoll init`, which must write nothing.
    fn refusal(&self, name: &str, model: &Onnx, arguments: &[&str]) -> String {
        let (output, folder) = self.init(name, model, arguments);
        assert_eq!(output.status.code(), Some(1), "{name}: {}", text(&output.stdout));
        assert!(!folder.exists(), "{name}: nothing is written");
        text(&output.stderr)
    }
}

/// Returns the means of red, green and blue as scores of three classes.
fn means() -> Onnx {
    let model = Onnx::new(22).input("x", &IMAGE).node("GlobalAveragePool", &["x"], "mean", &[]);
    model.node("Flatten", &["mean"], "y", &[("axis", 1)]).output("y", &[Some(1), Some(3)])
}

/// The setting `scores` of a folder, which must be an assumption, and its comment.
fn scores(folder: &Path, printed: &str, config: &str) -> (String, String) {
    let assumed = assumptions(folder, printed);
    let (_, value) = assumed.into_iter().find(|(key, _)| key == "scores").unwrap_or_else(|| panic!("{printed}"));
    let line = config.lines().find(|line| line.starts_with("scores = ")).expect("just found");
    (value, line.to_owned())
}

/// The same model returns numbers from 0 to 1 for pixels from 0 to 1, and others for pixels as ImageNet's.
#[test]
fn scores_are_judged_by_the_sample_as_the_pipeline_sends_it() {
    let site = Site::new();
    for (normalisation, expected, words) in [
        ("unit", "\"ready\"", "from 0 to 1, with another sum than 1"),
        ("imagenet", "\"softmax\"", "are not all from 0 to 1"),
    ] {
        let (printed, config, folder) = site.made(normalisation, &means(), &["--normalisation", normalisation]);
        let (value, line) = scores(&folder, &printed, &config);
        assert!(value == expected && line.contains(words), "{normalisation}: {line}");
        // The configuration of the trial is gone.
        let left: Vec<_> = std::fs::read_dir(&folder).expect("made").map(|it| it.expect("read").file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().contains("trial")), "{left:?}");
    }
}

#[test]
fn names_of_classes_are_read_in_the_forms_of_exporters() {
    let site = Site::new();
    let names = |folder: &Path| std::fs::read_to_string(folder.join("labels.txt")).ok();
    let listed = means().metadata("names", "['cat', \"bird's nest\", 'car']");
    let (_, config, folder) = site.made("listed", &listed, &[]);
    assert_eq!(names(&folder).as_deref(), Some("cat\nbird's nest\ncar\n"));
    assert!(config.contains("labels = \"labels.txt\""), "{config}");

    // What is not used is said.
    for (name, metadata, words) in [
        ("unreadable", "{'cat': 0, 'dog': 1, 'car': 2}", "`names` is not a list of names"),
        ("short", "{0: 'cat', 1: 'dog'}", "it has 2 labels, and the model has 3 classes"),
    ] {
        let (printed, config, folder) = site.made(name, &means().metadata("names", metadata), &[]);
        let wanted = format!("The labels of the model's metadata are not used: {words}");
        assert!(printed.contains(&wanted) && !config.contains("labels"), "{printed}{config}");
        assert_eq!(names(&folder), None);
    }

    // As transformers write them beside a model, with one class too few and without any.
    let config = r#"{"id2label": {"0": "cat", "1": "dog"}, "label2id": {"cat": 0, "dog": 1}}"#;
    for (text, words) in
        [(config, "it has 2 labels, and the model has 3 classes"), (r#"{"cat": 0}"#, "is JSON without labels")]
    {
        let labels = site.write("config.json", text);
        let message = site.refusal("refused", &means(), &["--labels", labels.to_str().expect("text")]);
        assert!(message.contains("config.json") && message.contains(words), "{message}");
    }
}

#[test]
fn inputs_of_other_types_and_sizes_are_served_or_refused() {
    let site = Site::new();
    // Bytes, channels last, any size, two outputs.
    let bytes = Onnx::new(22)
        .typed_input("pixels", &[None, None, None, Some(3)], DataType::UINT8)
        .node("Cast", &["pixels"], "floats", &[("to", 1)])
        .node("Transpose", &["floats"], "first", &[])
        .with_lists(&[("perm", &[0, 3, 1, 2])])
        .node("GlobalAveragePool", &["first"], "pooled", &[])
        .node("Flatten", &["pooled"], "features", &[("axis", 1)])
        .node("Softmax", &["features"], "scores", &[("axis", 1)])
        .open_output("scores")
        .open_output("features");
    let (printed, config, folder) = site.made("bytes", &bytes, &[]);
    let assumed = assumptions(&folder, &printed);
    for wanted in ["dtype = \"u8\"", "layout = \"nhwc\"", "plugin = \"tensors-postprocess\""] {
        assert!(config.contains(wanted), "{wanted}: {config}");
    }
    assert!(printed.contains("the task is unknown") && !config.contains("scale"), "{printed}{config}");
    for key in ["width", "height", "resize", "channels"] {
        assert!(assumed.iter().any(|(assumed, _)| assumed == key), "{key}: {printed}");
    }
    let message = site.refusal("normalised", &bytes, &["--normalisation", "imagenet"]);
    assert!(message.contains("takes bytes") && message.contains("leave out --normalisation"), "{message}");

    // Half precision, and an operator after the softmax that does not change numbers.
    let half = Onnx::new(22)
        .typed_input("pixels", &IMAGE, DataType::FLOAT16)
        .node("Cast", &["pixels"], "floats", &[("to", 1)])
        .node("GlobalAveragePool", &["floats"], "pooled", &[])
        .node("Flatten", &["pooled"], "flat", &[("axis", 1)])
        .node("Softmax", &["flat"], "probabilities", &[("axis", 1)])
        .node("Cast", &["probabilities"], "scores", &[("to", 10)])
        .typed_output("scores", &[Some(1), Some(3)], DataType::FLOAT16);
    // As Ultralytics trains its classifiers.
    let (_, config, _) = site.made("half", &half.metadata("task", "classify"), &[]);
    for wanted in ["dtype = \"f16\"", "scores = \"ready\"", "resize_shorter = 64", "# CHECK: 0 to 1: as YOLO-cls"] {
        assert!(config.contains(wanted), "{wanted}: {config}");
    }
    assert!(!config.contains("mean"), "{config}");

    // No size is fixed, not even that of the channels, as in exports of transformers. Their output is named `logits`.
    let open = Onnx::new(22)
        .input("pixel_values", &[None; 4])
        .node("GlobalAveragePool", &["pixel_values"], "pooled", &[])
        .node("Flatten", &["pooled"], "logits", &[("axis", 1)])
        .output("logits", &[None, Some(3)]);
    let (printed, config, folder) = site.made("open", &open, &["--normalisation", "unit"]);
    let assumed = assumptions(&folder, &printed);
    for (key, value) in
        [("layout", "\"nchw\""), ("channels", "\"rgb\""), ("width", "224"), ("height", "224"), ("scores", "\"logits\"")]
    {
        assert!(assumed.contains(&(key.to_owned(), value.to_owned())), "{key}: {printed}{config}");
    }

    let relu = |shape: &[Option<i64>]| Onnx::new(22).input("x", shape).node("Relu", &["x"], "y", &[]).open_output("y");
    let message = site.refusal("wide", &relu(&[Some(1), Some(3), Some(48), None]), &["--size", "320x64"]);
    assert!(message.contains("fixes its input to ?x48"), "{message}");
    let message = site.refusal("unclear", &relu(&[Some(1), Some(3), Some(48), Some(3)]), &[]);
    assert!(message.contains("both dimension 1 and dimension 3 could be the channels"), "{message}");
}
