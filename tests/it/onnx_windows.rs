//! Windows that ONNX does not allow: every backend rejects the model when it is loaded. Some would end the process on
//! onnxruntime, or never end.

use plimsoll_tests::onnx::Onnx;

use crate::batch_rows::source;
use crate::onnx_empty::backends;

fn model(operator: &str, lists: &[(&str, &[i64])], ints: &[(&str, i64)]) -> Onnx {
    let inputs: &[&str] = if operator.contains("Pool") { &["x"] } else { &["x", "w"] };
    Onnx::new(22)
        .input("x", &[None; 4])
        .floats("w", &[2, 2, 2, 2], &[1.0; 16])
        .node(operator, inputs, "y", ints)
        .with_lists(lists)
        .output("y", &[None; 4])
}

const SQUARE: (&str, &[i64]) = ("kernel_shape", &[2, 2]);

#[test]
fn a_window_that_onnx_does_not_allow_is_rejected_by_name() {
    let lists: [(&str, &[i64], &str); 9] = [
        ("strides", &[0, 1], "`strides` contains 0, which is less than 1"),
        ("strides", &[-1, 1], "`strides` contains -1"),
        ("dilations", &[1, 0], "`dilations` contains 0"),
        ("pads", &[-1, -1, -1, -1], "`pads` contains -1, which is less than 0"),
        ("pads", &[1, 1], "`pads` for 1"),
        ("pads", &[1, 1, 1], "`pads` has 3 numbers"),
        ("kernel_shape", &[0, 2], "`kernel_shape` contains 0"),
        ("kernel_shape", &[2, i32::MAX as i64], "more than 268435456 elements"),
        ("strides", &[1, 1, 1], "`strides` for 3"),
    ];
    let mut rejected: Vec<(Onnx, String, &str)> = Vec::new();
    for operator in ["Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool"] {
        for (name, list, reason) in lists {
            let all = if name == SQUARE.0 { vec![(name, list)] } else { vec![SQUARE, (name, list)] };
            rejected.push((model(operator, &all, &[]), format!("node `node_y` ({operator})"), reason));
        }
    }
    for operator in ["MaxPool", "AveragePool"] {
        let wide = model(operator, &[SQUARE, ("pads", &[0, 2, 0, 0])], &[]);
        rejected.push((
            wide,
            format!("node `node_y` ({operator})"),
            "`pads` contains 2, which is not less than the window",
        ));
    }
    for operator in ["Conv", "ConvTranspose"] {
        for group in [0, -1] {
            let reason = "`group` contains";
            rejected.push((model(operator, &[], &[("group", group)]), format!("node `node_y` ({operator})"), reason));
        }
    }
    rejected.push((model("LpPool", &[SQUARE], &[("p", 0)]), "node `node_y` (LpPool)".into(), "`p` is less than 1"));
    for (name, backend) in backends() {
        for (model, node, reason) in &rejected {
            let error = backend.load(&source(model.bytes())).err();
            let error = error.unwrap_or_else(|| panic!("{name} loads {node}: {reason}")).to_string();
            for part in [node.as_str(), reason] {
                assert!(error.contains(part), "{name}: `{part}` in {error}");
            }
        }
        for operator in ["Conv", "ConvTranspose", "MaxPool", "AveragePool"] {
            let right = model(operator, &[SQUARE, ("strides", &[2, 1]), ("pads", &[1, 0, 1, 0])], &[]);
            let loaded = backend.load(&source(right.bytes()));
            assert!(loaded.is_ok(), "{name}, {operator}: {:?}", loaded.err().map(|error| error.to_string()));
        }
    }
}
