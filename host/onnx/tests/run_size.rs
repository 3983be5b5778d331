//! The shapes that follow from the shapes of the inputs, against the outputs of ONNX's node tests.
//!
//! The variable `ONNX_NODE_TESTS` names the folder of the node tests (`onnx/backend/test/data/node` in the PyPI package
//! `onnx`).

use std::path::{Path, PathBuf};

use plimsoll_onnx::RunSizes;
use rten_onnx::onnx::{
    AttributeProto, AttributeType, DataType, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
};
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
        let given: Vec<(&str, &[u32])> = names.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
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

fn value(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: Some(name.into()), ..ValueInfoProto::default() }
}

fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    let names = |names: &[&str]| names.iter().map(|&name| name.into()).collect();
    NodeProto { op_type: Some(operator.into()), input: names(inputs), output: names(&[output]), ..NodeProto::default() }
}

/// A branch of an `If` that computes a value, and returns its largest element.
fn branch(name: &str, product: NodeProto) -> AttributeProto {
    let node = vec![product, node("ReduceMax", &["inner"], "largest")];
    let graph = GraphProto { node, output: vec![value("largest")], ..GraphProto::default() };
    let (name, graph) = (Some(name.into()), Some(graph));
    AttributeProto { name, g: graph, r#type: Some(AttributeType::GRAPH), ..AttributeProto::default() }
}

#[test]
fn a_branch_that_may_not_run_is_not_counted() {
    let products = || node("MatMul", &["column", "row"], "inner");
    for (other, expected) in [(node("Identity", &["column"], "inner"), 5_000), (products(), 25_000_000)] {
        let mut choice = node("If", &["condition"], "y");
        choice.attribute = vec![branch("then_branch", products()), branch("else_branch", other)];
        let graph = GraphProto {
            input: vec![value("condition"), value("column"), value("row")],
            node: vec![choice],
            output: vec![value("y")],
            ..GraphProto::default()
        };
        let bytes = ModelProto { graph: Some(graph), ..ModelProto::default() }.write_buf().expect("written");
        let sizes = RunSizes::of_model(&bytes).expect("a model");
        let inputs: [(&str, &[u32]); 3] = [("condition", &[]), ("column", &[5_000, 1]), ("row", &[1, 5_000])];
        let peaks = sizes.peaks(&inputs).expect("no panic");
        assert_eq!(peaks.value.as_ref().expect("a value").elements, expected);
        // The names inside are not known outside, so the estimate can be repeated.
        assert_eq!(sizes.peaks(&inputs).expect("no panic"), peaks);
    }
}

/// The estimate keeps the elements of short lists only: 2⁴² of them would end the process.
#[test]
fn a_list_that_doubles_again_and_again_is_not_kept() {
    let axis = || AttributeProto {
        name: Some("axis".into()),
        i: Some(0),
        r#type: Some(AttributeType::INT),
        ..AttributeProto::default()
    };
    let mut nodes = vec![node("Shape", &["column"], "s0")];
    for step in 0..40 {
        let (last, next) = (format!("s{step}"), format!("s{}", step + 1));
        let mut concat = node("Concat", &[&last, &last], &next);
        concat.attribute = vec![axis()];
        nodes.push(concat);
    }
    let graph =
        GraphProto { input: vec![value("column")], node: nodes, output: vec![value("s40")], ..GraphProto::default() };
    let bytes = ModelProto { graph: Some(graph), ..ModelProto::default() }.write_buf().expect("written");
    let sizes = RunSizes::of_model(&bytes).expect("a model");
    let peaks = sizes.peaks(&[("column", &[5_000, 1])]).expect("no panic");
    assert!(peaks.value.is_some_and(|value| value.elements > 1 << 20));
}
