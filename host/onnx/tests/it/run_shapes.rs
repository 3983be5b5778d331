//! The shapes that follow from the shapes of the inputs, against the outputs of ONNX's node tests.
//!
//! The variable `ONNX_NODE_TESTS` names the folder of the node tests (`onnx/backend/test/data/node` in the PyPI package
//! `onnx`).

use std::path::{Path, PathBuf};

use plimsoll_onnx::{GivenInput, RunSizes};
use rten_onnx::onnx::{DataType, ModelProto, TensorProto};
use rten_onnx::protobuf::{DecodeMessage, ValueReader};

/// The tensors `input_0.pb`, `input_1.pb` and so on of a test.
fn tensors(set: &Path, kind: &str) -> Vec<TensorProto> {
    let read = |index: usize| {
        let bytes = std::fs::read(set.join(format!("{kind}_{index}.pb"))).ok()?;
        TensorProto::decode(ValueReader::from_buf(bytes)).ok()
    };
    (0..).map_while(read).collect()
}

#[test]
fn shapes_are_those_of_the_node_tests() {
    let folder = std::env::var_os("ONNX_NODE_TESTS").map(PathBuf::from).filter(|path| path.is_dir());
    let Some(folder) = folder else {
        assert!(std::env::var_os("CI").is_none(), "ONNX_NODE_TESTS does not name a folder, and CI must not skip");
        eprintln!("SKIPPED: ONNX_NODE_TESTS does not name a folder");
        return;
    };
    let (mut known, mut unknown, mut wrong) = (0, 0, Vec::new());
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let test = entry.expect("readable").path();
        let set = test.join("test_data_set_0");
        let Some(mut model) =
            std::fs::read(test.join("model.onnx")).ok().and_then(|it| ModelProto::parse_buf(&it).ok())
        else {
            continue;
        };
        let (inputs, outputs) = (tensors(&set, "input"), tensors(&set, "output"));
        let Some(graph) = &mut model.graph else { continue };
        if inputs.len() != graph.input.len() || outputs.len() != graph.output.len() {
            continue;
        }
        let (mut names, mut constants) = (Vec::new(), Vec::new());
        for (input, mut tensor) in graph.input.iter().zip(inputs) {
            let name = input.name.clone().unwrap_or_default();
            let shape: Vec<u32> = tensor.dims.iter().map(|&size| u32::try_from(size).expect("small")).collect();
            // Integers and small numbers can be sizes and scales; they are constants here.
            if matches!(tensor.data_type, Some(DataType::INT64 | DataType::INT32)) || shape.iter().product::<u32>() < 5
            {
                tensor.name = Some(name);
                constants.push(tensor);
            } else {
                names.push((name, shape));
            }
        }
        graph.input.retain(|input| names.iter().any(|(name, _)| input.name.as_ref() == Some(name)));
        graph.initializer.append(&mut constants);
        let Ok(bytes) = model.write_buf() else { continue };
        let Some(sizes) = RunSizes::of_model(&bytes) else { continue };
        let given: Vec<GivenInput> =
            names.iter().map(|(name, shape)| GivenInput { name, shape, elements: None }).collect();
        let estimated = sizes.outputs(&given).expect("no panic");
        for ((name, estimated), output) in estimated.iter().zip(&outputs) {
            match estimated {
                None => {
                    unknown += 1;
                    if std::env::var_os("PLIMSOLL_SHOW").is_some() {
                        println!("unknown: {} {name}", test.display());
                    }
                }
                Some(shape) if *shape == output.dims => known += 1,
                Some(shape) => wrong.push(format!("{} {name}: {shape:?}, not {:?}", test.display(), output.dims)),
            }
        }
    }
    println!("{known} shapes are known, {unknown} are not");
    assert!(wrong.is_empty(), "{} are wrong: {wrong:#?}", wrong.len());
    assert!(known > 1_200, "only {known} shapes are known; {unknown} are not");
}
