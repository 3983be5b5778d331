//! Models of each datatype, and pipelines that give them the tensors of a request unchanged.

use std::fmt::Write as _;
use std::path::Path;

use plimsoll_tests::guest;
use plimsoll_tests::onnx::Onnx;

use super::datatypes::{TABLE, element};

/// A model whose outputs are `y`, the row twice in its own type, and `f`, the row in FLOAT.
fn model(backend: &str, datatype: &str) -> Vec<u8> {
    let ty = element(datatype);
    let model = Onnx::new(13).typed_input("x", &[None, Some(3)], ty);
    // Each has this type of node for every type that it has.
    let model = match backend {
        "rten" => model.ints("times", &[1, 2]).node("Tile", &["x", "times"], "y", &[]),
        _ => model.node("Concat", &["x", "x"], "y", &[("axis", 1)]),
    };
    let model = match backend {
        // OpenVINO takes no graph of a few nodes.
        "openvino" => model
            .floats("identity", &[3, 3], &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0])
            .node("Cast", &["x"], "c", &[("to", 1)])
            .node("MatMul", &["c", "identity"], "d", &[])
            .node("MatMul", &["d", "identity"], "f", &[]),
        _ => model.node("Cast", &["x"], "f", &[("to", 1)]),
    };
    model.typed_output("y", &[None, Some(6)], ty).output("f", &[None, Some(3)]).bytes()
}

/// A configuration with one pipeline for each datatype, whose name is that of the datatype. `model` is added to each
/// model.
pub(super) fn pipelines(
    folder: &Path,
    backend: &str,
    library: Option<&Path>,
    datatypes: &[&str],
    model: &str,
) -> String {
    let mut toml = format!("[plugins.given-tensors]\nfile = {:?}\n", guest("given-tensors"));
    if let Some(library) = library {
        write!(toml, "[backends.onnxruntime]\nlibrary = {library:?}\nsessions = 1\n").expect("text");
    }
    let (of_library, target) = match backend {
        "openvino" => ("onnxruntime", "target = \"ov\"\n"),
        other => (other, ""),
    };
    if !target.is_empty() {
        toml += "[chips.ov]\nprovider = \"openvino\"\ndevice = \"CPU\"\n";
    }
    for name in datatypes {
        let file = folder.join(format!("{name}.onnx"));
        std::fs::write(&file, self::model(backend, name)).expect("written");
        write!(
            toml,
            "[models.{name}]\nfile = {file:?}\nbackend = \"{of_library}\"\n{target}{model}\n[pipelines.{name}]\nmodel = \"{name}\"\n\
             [pipelines.{name}.preprocess]\nplugin = \"given-tensors\"\n[pipelines.{name}.chips.c]\nplugin = \"infer-native\"\n\
             [pipelines.{name}.postprocess]\nplugin = \"tensors-postprocess\"\n"
        )
        .expect("text");
    }
    toml
}

/// A configuration with models of all datatypes.
pub(crate) fn all_on_onnxruntime(folder: &Path, library: &Path) -> String {
    pipelines(folder, "onnxruntime", Some(library), &TABLE.map(|(name, _)| name), "")
}
