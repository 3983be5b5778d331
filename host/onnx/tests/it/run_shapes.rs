//! The shapes that follow from the shapes of the inputs, against the outputs of ONNX's node tests.

use plimsoll_onnx::{GivenInput, RunSizes};
use rten_onnx::onnx::{DataType, ModelProto};

use crate::node_tests::{self, tensors};

#[test]
fn shapes_are_those_of_the_node_tests() {
    let Some(tests) = node_tests::folders() else { return };
    let (mut known, mut unknown, mut wrong) = (0, 0, Vec::new());
    for test in tests {
        let Some(mut model) = node_tests::model(&test).and_then(|bytes| ModelProto::parse_buf(&bytes).ok()) else {
            continue;
        };
        let (inputs, outputs) = (tensors(&test, "input"), tensors(&test, "output"));
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
