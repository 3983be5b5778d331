//! Models that ONNX does not allow: ONNX's node tests with one thing changed, such as a missing input or an absurd
//! attribute. Each may be rejected, but nothing may panic.
//!
//! Every fourth change is tried; with the variable `PLIMSOLL_DAMAGED=all` every one.

use std::collections::BTreeMap;
use std::path::Path;

use rten_onnx::onnx::{DataType, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};

use crate::node_tests;

/// The models with the names of their tests, or `None` where they are absent.
fn models() -> Option<Vec<(String, Vec<u8>)>> {
    let name = |test: &Path| test.file_name().expect("a name").to_string_lossy().into_owned();
    let folders = node_tests::folders()?;
    let models: Vec<_> = folders.iter().filter_map(|test| Some((name(test), node_tests::model(test)?))).collect();
    assert!(models.len() > 1_000, "{} models", models.len());
    Some(models)
}

/// Versions of the operators before important changes.
const OLDER: &[i64] = &[1, 2, 6, 9, 10, 11, 12, 17];

/// A change: what it does, and the function that applies it.
type Change = (String, Box<dyn Fn(&mut GraphProto)>);

fn change(what: String, apply: impl Fn(&mut GraphProto) + 'static) -> Change {
    (what, Box::new(apply))
}

/// All changes of one thing.
fn changes(graph: &GraphProto) -> Vec<Change> {
    let mut changes = Vec::new();
    for (at, node) in graph.node.iter().enumerate() {
        node_changes(at, node, &mut changes);
    }
    for (at, constant) in graph.initializer.iter().enumerate() {
        for dims in [vec![], vec![0], vec![-1], vec![i64::MAX, 2], vec![1 << 33, 1 << 33]] {
            let what = format!("initializer {at} with dimensions {dims:?}");
            changes.push(change(what, move |graph| graph.initializer[at].dims.clone_from(&dims)));
        }
        if !constant.dims.is_empty() {
            changes.push(change(format!("initializer {at} without numbers"), move |graph| {
                empty(&mut graph.initializer[at])
            }));
        }
        for number in [i64::MIN, -1, 0, 1 << 31, i64::MAX] {
            changes.push(change(format!("initializer {at} full of {number}"), move |graph| {
                fill(&mut graph.initializer[at], number);
            }));
        }
        changes.push(change(format!("initializer {at} without a type"), move |graph| {
            graph.initializer[at].data_type = None;
        }));
    }
    for at in 0..graph.input.len() {
        changes.push(change(format!("input {at} without a type"), move |graph| graph.input[at].r#type = None));
        changes.push(change(format!("input {at} without a name"), move |graph| graph.input[at].name = None));
        for number in [i64::MIN, -1, 0, 1 << 31, i64::MAX] {
            changes.push(change(format!("input {at} as a constant full of {number}"), move |graph| {
                if let Some(constant) = constant(&graph.input[at], number) {
                    graph.input.remove(at);
                    graph.initializer.push(constant);
                }
            }));
        }
        for sizes in [vec![], vec![0], vec![-1; 9], vec![i64::MAX, i64::MAX], vec![1; 12]] {
            let what = format!("input {at} with sizes {sizes:?}");
            changes.push(change(what, move |graph| {
                let tensor = graph.input[at].r#type.as_mut().and_then(|ty| ty.tensor_type.as_mut());
                if let Some(shape) = tensor.and_then(|tensor| tensor.shape.as_mut()) {
                    let mut dims: Vec<_> = std::mem::take(&mut shape.dim);
                    dims.resize_with(sizes.len(), Default::default);
                    for (dim, size) in dims.iter_mut().zip(&sizes) {
                        dim.dim_value = Some(*size);
                        dim.dim_param = None;
                    }
                    shape.dim = dims;
                }
            }));
        }
    }
    for at in 0..graph.output.len() {
        changes.push(change(format!("output {at} without a type"), move |graph| graph.output[at].r#type = None));
        changes.push(change(format!("output {at} without a name"), move |graph| graph.output[at].name = None));
    }
    changes
}

/// A constant with the name and the shape of an input, if it is a small one of a common type.
fn constant(input: &ValueInfoProto, number: i64) -> Option<TensorProto> {
    let tensor = input.r#type.as_ref()?.tensor_type.as_ref()?;
    let dims = tensor.shape.as_ref()?.dim.iter().map(|size| size.dim_value).collect::<Option<Vec<i64>>>()?;
    let count = usize::try_from(dims.iter().product::<i64>()).ok().filter(|&count| count <= 1_000)?;
    let mut constant =
        TensorProto { name: input.name.clone(), dims, data_type: tensor.elem_type, ..TensorProto::default() };
    match tensor.elem_type? {
        DataType::FLOAT => constant.float_data = vec![0.0; count],
        DataType::INT32 | DataType::INT8 | DataType::UINT8 | DataType::BOOL => constant.int32_data = vec![0; count],
        DataType::INT64 => constant.int64_data = vec![0; count],
        _ => return None,
    }
    fill(&mut constant, number);
    Some(constant)
}

fn fill(tensor: &mut TensorProto, number: i64) {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "any number will do")]
    {
        tensor.float_data.fill(number as f32);
        tensor.int32_data.fill(number as i32);
    }
    tensor.int64_data.fill(number);
    let bytes = number.to_le_bytes();
    if let Some(raw) = &tensor.raw_data {
        raw.borrow_mut().iter_mut().zip(bytes.iter().cycle()).for_each(|(byte, number)| *byte = *number);
    }
}

fn empty(tensor: &mut TensorProto) {
    tensor.float_data.clear();
    tensor.int32_data.clear();
    tensor.int64_data.clear();
    tensor.raw_data = None;
}

fn node_changes(at: usize, node: &NodeProto, changes: &mut Vec<Change>) {
    let operator = node.op_type.clone().unwrap_or_default();
    let of = |what: String| format!("node {at} ({operator}) {what}");
    changes.push(change(of("without inputs".into()), move |graph| graph.node[at].input.clear()));
    changes.push(change(of("without outputs".into()), move |graph| graph.node[at].output.clear()));
    changes.push(change(of("with other inputs after its own".into()), move |graph| {
        let inputs = &mut graph.node[at].input;
        let first = inputs.first().cloned().unwrap_or_default();
        inputs.resize(inputs.len() + 6, first);
    }));
    for index in 0..node.input.len() {
        changes.push(change(of(format!("without input {index}")), move |graph| {
            graph.node[at].input.remove(index);
        }));
        changes.push(change(of(format!("with an empty input {index}")), move |graph| {
            graph.node[at].input[index].clear();
        }));
        for other in 0..node.input.len() {
            changes.push(change(of(format!("with input {other} as input {index}")), move |graph| {
                let other = graph.node[at].input[other].clone();
                graph.node[at].input[index] = other;
            }));
        }
    }
    for index in 0..node.output.len() {
        changes.push(change(of(format!("with an empty output {index}")), move |graph| {
            graph.node[at].output[index].clear();
        }));
        changes.push(change(of(format!("without output {index}")), move |graph| {
            graph.node[at].output.remove(index);
        }));
    }
    for index in 0..node.attribute.len() {
        let name = node.attribute[index].name.clone().unwrap_or_default();
        changes.push(change(of(format!("without `{name}`")), move |graph| {
            graph.node[at].attribute.remove(index);
        }));
        changes.push(change(of(format!("with an empty `{name}`")), move |graph| {
            let attribute = &mut graph.node[at].attribute[index];
            (attribute.i, attribute.f, attribute.s) = (None, None, None);
            (attribute.g, attribute.t) = (None, None);
            attribute.ints.clear();
            attribute.floats.clear();
            attribute.strings.clear();
        }));
        for number in [i64::MIN, -1_000, -1, 0, 7, 1_000, i64::MAX] {
            changes.push(change(of(format!("with {number} in `{name}`")), move |graph| {
                let attribute = &mut graph.node[at].attribute[index];
                attribute.i = attribute.i.map(|_| number);
                attribute.ints.iter_mut().for_each(|it| *it = number);
                #[expect(clippy::cast_precision_loss, reason = "any number will do")]
                let float = number as f32;
                attribute.f = attribute.f.map(|_| float);
                attribute.floats.iter_mut().for_each(|it| *it = float);
            }));
        }
        changes.push(change(of(format!("with more numbers in `{name}`")), move |graph| {
            let attribute = &mut graph.node[at].attribute[index];
            attribute.ints.extend([3; 9]);
            attribute.floats.extend([3.0; 9]);
        }));
        if node.attribute[index].t.is_some() {
            for number in [i64::MIN, -1, 1 << 31, i64::MAX] {
                changes.push(change(of(format!("with {number} in the tensor `{name}`")), move |graph| {
                    if let Some(tensor) = &mut graph.node[at].attribute[index].t {
                        fill(tensor, number);
                    }
                }));
            }
            for dims in [vec![], vec![0], vec![-1], vec![i64::MAX, 2]] {
                changes.push(change(of(format!("with dimensions {dims:?} in `{name}`")), move |graph| {
                    if let Some(tensor) = &mut graph.node[at].attribute[index].t {
                        tensor.dims.clone_from(&dims);
                    }
                }));
            }
        }
        if let Some(body) = &node.attribute[index].g {
            for (what, apply) in self::changes(body) {
                changes.push(change(of(format!("`{name}`: {what}")), move |graph| {
                    if let Some(body) = &mut graph.node[at].attribute[index].g {
                        apply(body);
                    }
                }));
            }
        }
    }
}

/// The texts of what the three functions say about a model.
fn analyse(bytes: Vec<u8>) -> Vec<String> {
    let mut texts = vec![format!("{:?}", plimsoll_onnx::prove_rows(&bytes))];
    texts.extend(plimsoll_onnx::prepare_onnxruntime(&bytes).err().map(|error| error.to_string()));
    texts.extend(plimsoll_onnx::prepare(bytes, &[]).err().map(|error| error.to_string()));
    texts
}

#[test]
fn a_model_that_onnx_does_not_allow_is_analysed_without_a_panic() {
    let Some(models) = models() else { return };
    let mut panics: BTreeMap<String, String> = BTreeMap::new();
    let every = if std::env::var("PLIMSOLL_DAMAGED").is_ok_and(|which| which == "all") { 1 } else { 4 };
    let (mut seen, mut count) = (0, 0);
    // The messages of panics name the place.
    for (name, bytes) in &models {
        let Ok(model) = ModelProto::parse_buf(bytes) else { continue };
        let Some(graph) = &model.graph else { continue };
        // Functions that ONNX expands have the same operators as other tests.
        if graph.node.len() > 12 || bytes.len() > 100_000 {
            continue;
        }
        for (what, apply) in changes(graph) {
            seen += 1;
            if seen % every != 0 {
                continue;
            }
            // In an older version of the operators, what is an input now was an attribute.
            for opset in [None, Some(OLDER[seen / every % OLDER.len()])] {
                let mut model = ModelProto::parse_buf(bytes).expect("it was parsed before");
                apply(model.graph.as_mut().expect("it has a graph"));
                model.opset_import.iter_mut().for_each(|set| set.version = opset.or(set.version));
                let Ok(bytes) = model.write_buf() else { continue };
                count += 1;
                for text in analyse(bytes) {
                    if text.contains("the analysis panicked") {
                        panics.insert(format!("{what}, operator set {opset:?}"), name.clone());
                    }
                }
            }
        }
    }
    println!("{count} changed models");
    assert!(count > 160_000 / every, "only {count} models");
    assert!(panics.is_empty(), "{} changes panic: {panics:#?}", panics.len());
}
