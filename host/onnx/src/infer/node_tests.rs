//! Infers facts about the outputs of ONNX's node tests, and checks that they are true of the expected outputs. The
//! environment variable `ONNX_NODE_TESTS` names the folder of the tests (`onnx/backend/test/data/node` in the PyPI package `onnx`).

use std::path::{Path, PathBuf};

use rten_onnx::onnx::{DataType, ModelProto, TensorProto};
use rten_onnx::protobuf::{DecodeMessage, ValueReader};

use super::outputs;
use crate::types::{Info, Values};
use crate::zeros::Zeros;
use crate::{node, rules};

/// The tensors `input_0.pb`, `input_1.pb` and so on of a test, or its outputs.
fn tensors(test: &Path, kind: &str) -> Vec<TensorProto> {
    let read = |index: usize| {
        let bytes = std::fs::read(test.join("test_data_set_0").join(format!("{kind}_{index}.pb"))).ok()?;
        TensorProto::decode(ValueReader::from_buf(bytes)).ok()
    };
    (0..).map_while(read).collect()
}

/// What is inferred and does not hold for a tensor.
fn contradictions(info: &Info, tensor: &TensorProto) -> Vec<String> {
    let found = Info::constant(tensor);
    let mut wrong = Vec::new();
    if info.ty.is_some() && info.ty != found.ty {
        wrong.push(format!("type {:?}, not {:?}", info.ty, found.ty));
    }
    if info.rank.is_some() && info.rank != found.rank {
        wrong.push(format!("rank {:?}, not {:?}", info.rank, found.rank));
    }
    let differs = |(one, other): (&Option<i64>, &Option<i64>)| one.is_some() && one != other;
    let sizes = info.sizes.iter().flatten().zip(found.sizes.iter().flatten());
    if sizes.into_iter().any(differs) {
        wrong.push(format!("sizes {:?}, not {:?}", info.sizes, found.sizes));
    }
    // NaN is not compared.
    if found.bound.is_finite() && info.bound < found.bound * 0.999_999 {
        wrong.push(format!("bound {}, not {}", info.bound, found.bound));
    }
    let is_negative = found.constant.iter().flatten().any(|&value| value < 0.0);
    if info.never_negative && is_negative {
        wrong.push("never negative".into());
    }
    let zeros: Vec<f64> = found.constant.iter().flatten().copied().filter(|&value| value == 0.0).collect();
    let is_known = match info.zeros {
        Zeros::Absent => zeros.is_empty(),
        Zeros::Positive => zeros.iter().all(|zero| zero.is_sign_positive()),
        Zeros::Exact | Zeros::Unknown => true,
    };
    if !is_known {
        wrong.push(format!("zeros {:?}", info.zeros));
    }
    if !info.may_be_nan && found.may_be_nan || !info.may_be_infinite && found.may_be_infinite {
        wrong.push("never NaN or infinite".into());
    }
    wrong
}

#[test]
fn what_is_inferred_holds_for_the_node_tests() {
    let folder = std::env::var_os("ONNX_NODE_TESTS").map(PathBuf::from).filter(|path| path.is_dir());
    let Some(folder) = folder else {
        assert!(std::env::var_os("CI").is_none(), "ONNX_NODE_TESTS does not name a folder, and CI must not skip");
        eprintln!("SKIPPED: ONNX_NODE_TESTS does not name a folder");
        return;
    };
    let (mut known, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let test = entry.expect("readable").path();
        let model = std::fs::read(test.join("model.onnx")).ok().and_then(|bytes| ModelProto::parse_buf(&bytes).ok());
        let Some((model, opset)) = model.map(|model| (node::opset_or_first(&model), model)).map(|(a, b)| (b, a)) else {
            continue;
        };
        let Some(graph) = &model.graph else { continue };
        let (given, expected) = (tensors(&test, "input"), tensors(&test, "output"));
        let is_supported = |tensor: &TensorProto| tensor.data_type.is_some_and(|ty| rules::check_type(ty).is_ok());
        let is_complete = given.len() == graph.input.len() && expected.len() == graph.output.len();
        if !is_complete || !given.iter().all(is_supported) {
            continue;
        }
        let mut values = Values::default();
        for (input, tensor) in graph.input.iter().zip(&given) {
            let name = input.name.as_deref().unwrap_or_default();
            let constant = Info::constant(tensor);
            // Integers can be sizes, which are constants in most models.
            let is_constant = matches!(tensor.data_type, Some(DataType::INT64 | DataType::INT32));
            let special = (constant.may_be_nan, constant.may_be_infinite);
            let mut info = if is_constant { constant } else { Info::checked_input(input) };
            (info.may_be_nan, info.may_be_infinite) = special;
            values.insert(name, info);
        }
        for constant in &graph.initializer {
            values.insert(constant.name.as_deref().unwrap_or_default(), Info::constant(constant));
        }
        for node in &graph.node {
            let operator = node.op_type.as_deref().unwrap_or_default();
            let has_graph = node.attribute.iter().any(|attribute| attribute.g.is_some());
            let infos = match operator {
                "Constant" => rules::constant(node).unwrap_or_else(|_| vec![Info::unknown()]),
                _ if has_graph || !rules::is_known(operator) => vec![Info::unknown(); node.output.len()],
                _ => outputs(node, opset, &values),
            };
            for (name, info) in node.output.iter().zip(infos) {
                values.define(name, info, None);
            }
        }
        for (output, tensor) in graph.output.iter().zip(&expected) {
            let Some(info) = values.get(output.name.as_deref().unwrap_or_default()) else { continue };
            known += usize::from(info.rank.is_some());
            let name = test.file_name().expect("a name").to_string_lossy();
            wrong.extend(contradictions(info, tensor).into_iter().map(|what| format!("{name}: {what}")));
        }
    }
    println!("{known} numbers of dimensions are known");
    assert!(wrong.is_empty(), "{} contradictions: {wrong:#?}", wrong.len());
    assert!(known > 900, "only {known}");
}
