//! The backend `onnxruntime`: declarations that it must not trust, operations that it must not optimise away, and
//! inputs that must not crash it.

use std::path::Path;

use plimsoll_runtime::nn::{Backend, BackendName, Model, RowProof, prove_rows};
use plimsoll_runtime::tensor::{Tensor, TensorType};
use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{Server, TempDir};
use rten_onnx::onnx::{DataType, ModelProto};
use serde_json::json;

use crate::batch_rows::load;

pub(crate) fn backend() -> Option<Box<dyn Backend>> {
    let library = crate::models::onnxruntime()?;
    let settings = json!({ "library": library, "sessions": 1 });
    Some("onnxruntime".parse::<BackendName>().expect("known").open(&settings, Path::new("")).expect("opened"))
}

pub(crate) fn floats(shape: &[u32], values: &[f32]) -> Tensor {
    Tensor::new(shape.to_vec(), TensorType::Fp32, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

pub(crate) fn run(model: &dyn Model, inputs: &[Tensor]) -> Vec<f32> {
    let (_, output) = model.run(inputs).unwrap_or_else(|error| panic!("{error}")).remove(0);
    match output.ty {
        TensorType::Fp32 => output.data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
        TensorType::I64 => output.data.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes) as f32).collect(),
        other => panic!("{other}"),
    }
}

/// Changes the parsed model.
fn changed(bytes: &[u8], change: impl FnOnce(&mut ModelProto)) -> Vec<u8> {
    let mut model = ModelProto::parse_buf(bytes).expect("a model");
    change(&mut model);
    model.write_buf().expect("a model")
}

/// Sets the element types of inputs and outputs.
fn typed(bytes: &[u8], ty: DataType) -> Vec<u8> {
    changed(bytes, |model| {
        let graph = model.graph.as_mut().expect("a graph");
        for value in graph.input.iter_mut().chain(&mut graph.output) {
            value.r#type.as_mut().and_then(|ty| ty.tensor_type.as_mut()).expect("a tensor").elem_type = Some(ty);
        }
    })
}

/// A mean over an axis that is not kept is subtracted along another axis; a normalisation keeps it.
#[test]
fn a_mean_over_an_axis_that_is_not_kept_is_not_fused_into_a_normalisation() {
    let Some(backend) = backend() else { return };
    let shape = [Some(3), Some(3)];
    let bytes = Onnx::new(13)
        .input("x", &shape)
        .floats("two", &[], &[2.0])
        .floats("epsilon", &[], &[1e-5])
        .floats("scale", &[3], &[1.0, 2.0, 3.0])
        .floats("bias", &[3], &[0.5, 0.0, -0.5])
        .node("ReduceMean", &["x"], "mean", &[("keepdims", 0)])
        .node("Sub", &["x", "mean"], "centred", &[])
        .node("Pow", &["centred", "two"], "square", &[])
        .node("ReduceMean", &["square"], "variance", &[("keepdims", 0)])
        .node("Add", &["variance", "epsilon"], "safe", &[])
        .node("Sqrt", &["safe"], "deviation", &[])
        .node("Div", &["centred", "deviation"], "normal", &[])
        .node("Mul", &["normal", "scale"], "scaled", &[])
        .node("Add", &["scaled", "bias"], "y", &[])
        .output("y", &shape);
    let bytes = changed(&bytes.bytes(), |model| {
        let graph = model.graph.as_mut().expect("a graph");
        for node in graph.node.iter_mut().filter(|node| node.op_type.as_deref() == Some("ReduceMean")) {
            node.attribute.push(rten_onnx::onnx::AttributeProto {
                name: Some("axes".into()),
                ints: vec![-1],
                r#type: Some(rten_onnx::onnx::AttributeType::INTS),
                ..rten_onnx::onnx::AttributeProto::default()
            });
        }
    });
    let x: [[f64; 3]; 3] = [[1.0, 2.0, 6.0], [0.5, -4.0, 2.5], [3.0, 3.5, 10.0]];
    let mean: Vec<f64> = x.iter().map(|row| row.iter().sum::<f64>() / 3.0).collect();
    let centred = |row: usize, column: usize| x[row][column] - mean[column];
    let deviation: Vec<f64> = (0..3)
        .map(|row| ((0..3).map(|column| centred(row, column).powi(2)).sum::<f64>() / 3.0 + 1e-5).sqrt())
        .collect();
    let (scale, bias) = ([1.0, 2.0, 3.0], [0.5, 0.0, -0.5]);
    let input: Vec<f32> = x.as_flattened().iter().map(|&value| value as f32).collect();
    let found = run(&*load(&*backend, bytes), &[floats(&[3, 3], &input)]);
    for (index, found) in found.iter().enumerate() {
        let (row, column) = (index / 3, index % 3);
        let expected = centred(row, column) / deviation[column] * scale[column] + bias[column];
        assert!((f64::from(*found) - expected).abs() < 1e-4, "{index}: {found}, not {expected}");
    }
}

#[test]
fn a_product_is_not_scaled_before_it_is_rounded_or_beyond_its_range() {
    let Some(backend) = backend() else { return };
    let bytes = Onnx::new(13)
        .input("x", &[None, Some(1)])
        .floats("w", &[1, 1], &[1.0])
        .floats("c", &[], &[1.1])
        .node("MatMul", &["x", "w"], "product", &[])
        .node("Div", &["product", "c"], "quotient", &[])
        .node("Floor", &["quotient"], "y", &[])
        .output("y", &[None, Some(1)])
        .bytes();
    let input: Vec<f32> = (1..400).map(|index| index as f32 * 1.1).collect();
    let expected: Vec<f32> = input.iter().map(|value| (value / 1.1f32).floor()).collect();
    assert_eq!(run(&*load(&*backend, bytes), &[floats(&[399, 1], &input)]), expected);

    // The product of both scales is infinite in FLOAT.
    let bytes = Onnx::new(13)
        .input("x", &[Some(1), Some(1)])
        .input("z", &[Some(1), Some(1)])
        .floats("a", &[], &[1e25])
        .node("Mul", &["x", "a"], "xa", &[])
        .node("Mul", &["z", "a"], "za", &[])
        .node("MatMul", &["xa", "za"], "y", &[])
        .output("y", &[Some(1), Some(1)])
        .bytes();
    let found = run(&*load(&*backend, bytes), &[floats(&[1, 1], &[1e-25]), floats(&[1, 1], &[1e-25])]);
    assert!((found[0] - 1.0).abs() < 1e-4, "{found:?}");
}

#[test]
fn shapes_that_a_file_only_claims_do_not_change_an_answer() {
    let Some(backend) = backend() else { return };
    let onnx = Onnx::new(13)
        .input("x", &[None, Some(2)])
        .node("Relu", &["x"], "positive", &[])
        .node("Shape", &["positive"], "sizes", &[])
        .output("sizes", &[Some(2)]);
    for is_output in [false, true] {
        let claimed = if is_output { onnx.clone().output("positive", &[Some(1), Some(2)]) } else { onnx.clone() };
        let bytes = changed(&claimed.bytes(), |model| {
            let graph = model.graph.as_mut().expect("a graph");
            let ty = &mut graph.output[0].r#type.as_mut().and_then(|ty| ty.tensor_type.as_mut()).expect("a tensor");
            ty.elem_type = Some(DataType::INT64);
            if !is_output {
                let mut value = graph.input[0].clone();
                value.name = Some("positive".into());
                let tensor = value.r#type.as_mut().and_then(|ty| ty.tensor_type.as_mut()).expect("a tensor");
                tensor.shape.as_mut().expect("a shape").dim[0] =
                    rten_onnx::onnx::Dimension { dim_value: Some(1), dim_param: None };
                graph.value_info.push(value);
            }
        });
        let model = load(&*backend, bytes);
        assert_eq!(run(&*model, &[floats(&[4, 2], &[1.0; 8])]), [4.0, 2.0], "output: {is_output}");
    }
}

#[test]
fn the_least_integer_divided_by_minus_one_is_computed() {
    let Some(backend) = backend() else { return };
    for operator in ["Div", "Mod"] {
        let onnx = Onnx::new(13)
            .input("x", &[None])
            .input("z", &[None])
            .node(operator, &["x", "z"], "y", &[])
            .output("y", &[None]);
        let ints = |values: &[i64]| {
            Tensor::new(
                vec![values.len() as u32],
                TensorType::I64,
                values.iter().flat_map(|it| it.to_le_bytes()).collect(),
            )
        };
        let model = load(&*backend, typed(&onnx.bytes(), DataType::INT64));
        let (_, output) = model.run(&[ints(&[i64::MIN, 7, -7, 9]), ints(&[-1, -1, 2, 4])]).expect("a run").remove(0);
        let found: Vec<i64> = output.data.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect();
        // The remainder has the sign of the divisor (ONNX, Mod).
        let expected = if operator == "Div" { [i64::MIN, -7, -3, 2] } else { [0, 0, 1, 1] };
        assert_eq!(found, expected, "{operator}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_a_model_cannot_take_are_the_callers_fault_and_named() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("model.onnx");
    let bytes = Onnx::new(13)
        .input("x", &[Some(4)])
        .input("i", &[None])
        .node("Gather", &["x", "i"], "y", &[])
        .output("y", &[None])
        .bytes();
    let bytes = changed(&bytes, |model| {
        let input = &mut model.graph.as_mut().expect("a graph").input[1];
        input.r#type.as_mut().and_then(|ty| ty.tensor_type.as_mut()).expect("a tensor").elem_type =
            Some(DataType::INT64);
    });
    std::fs::write(&file, bytes).expect("written");
    let mut backends = vec!["rten"];
    backends.extend(crate::models::onnxruntime().map(|_| "onnxruntime"));
    for backend in backends {
        let library = crate::models::onnxruntime().filter(|_| backend == "onnxruntime");
        let library = library.map_or(String::new(), |path| format!("[backends.onnxruntime]\nlibrary = {path:?}\n"));
        let guest = plimsoll_tests::guest("echo-postprocess");
        let server = Server::start(&format!(
            "{library}[plugins.echo-postprocess]\nfile = {guest:?}\n[models.m]\nfile = {file:?}\nbackend = \"{backend}\"\n\
             [pipelines.p]\nmodel = \"m\"\n[pipelines.p.preprocess]\nplugin = \"image-preprocess\"\n\
             config = {{ width = 8, height = 8, input = \"x\", max_pixels = 1 }}\n[pipelines.p.chips.cpu]\nplugin = \"infer-native\"\n\
             [pipelines.p.postprocess]\nplugin = \"echo-postprocess\"\n"
        ))
        .await;
        let request = |index: i64| {
            json!({ "inputs": [
                { "name": "x", "shape": [4], "datatype": "FP32", "data": [1.0, 2.0, 3.0, 4.0] },
                { "name": "i", "shape": [1], "datatype": "INT64", "data": [index] },
            ] })
        };
        let reply = server.infer_json("p.infer", &request(2)).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let reply = server.infer_json("p.infer", &request(7)).await;
        assert_eq!((reply.status, reply.json()["code"].as_str()), (400, Some("tensor_mismatch")), "{}", reply.text);
        let detail = reply.json()["detail"].as_str().expect("a text").to_owned();
        assert!(detail.contains("model `m`") && detail.contains("node_y") && detail.contains('7'), "{detail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_models_that_cannot_be_loaded_are_reported() {
    let folder = TempDir::new().expect("a folder");
    let models: String = ["a", "b", "c"]
        .iter()
        .map(|name| {
            let file = folder.path().join(format!("{name}.onnx"));
            if *name != "b" {
                std::fs::write(&file, "no model").expect("written");
            }
            format!("[models.{name}]\nfile = {file:?}\n")
        })
        .collect();
    let pipeline = "[pipelines.p]\nmodel = \"a\"\n[pipelines.p.preprocess]\nplugin = \"image-preprocess\"\n\
                    config = { width = 8, height = 8 }\n[pipelines.p.chips.c]\nplugin = \"infer-native\"\n\
                    [pipelines.p.postprocess]\nplugin = \"classify-postprocess\"\n";
    let message = Server::rejection(&format!("{models}{pipeline}")).await;
    for name in ["models.a: ", "models.b: ", "models.c: "] {
        assert!(message.contains(name), "{message}");
    }
}

/// A dependency between rows that appears only for numbers that no probe has is found in the graph, and the node is
/// named.
#[test]
fn the_graph_tells_whether_rows_are_mixed() {
    let rows = |shape: &[Option<i64>]| Onnx::new(13).input("x", shape).output("y", shape);
    let shape = [None, Some(4)];
    let mixed = [
        rows(&shape)
            .floats("limit", &[], &[3e33])
            .node("ReduceMax", &["x"], "most", &[("keepdims", 0)])
            .node("Greater", &["most", "limit"], "is_large", &[])
            .node("Cast", &["is_large"], "gate", &[("to", 1)])
            .node("Add", &["x", "gate"], "y", &[]),
        rows(&shape)
            .ints("one_row", &[1, -1])
            .ints("rows", &[-1, 4])
            .node("Reshape", &["x", "one_row"], "flat", &[])
            .node("Softmax", &["flat"], "soft", &[("axis", 1)])
            .node("Reshape", &["soft", "rows"], "y", &[]),
        rows(&shape).int_scalar("axis", 0).node("CumSum", &["x", "axis"], "y", &[]),
        rows(&shape).int_scalar("first", 0).node("Gather", &["x", "first"], "row", &[]).node(
            "Add",
            &["x", "row"],
            "y",
            &[],
        ),
    ];
    for onnx in mixed {
        let proof = prove_rows(&onnx.bytes());
        assert!(matches!(&proof, RowProof::Mixed(why) if why.contains("output `y`: node `node_")), "{proof:?}");
    }
    // Attention with a batch axis that moves: the shapes are computed as exporters do it.
    let separate = rows(&[None, None, Some(4)])
        .floats("w", &[4, 4], &[0.5; 16])
        .ints("zero", &[0])
        .ints("one", &[1])
        .ints("heads", &[2, 2])
        .ints("four", &[4])
        .node("Shape", &["x"], "shape", &[])
        .node("Gather", &["shape", "zero"], "batch", &[])
        .node("Gather", &["shape", "one"], "length", &[])
        .node("Concat", &["batch", "length", "heads"], "split", &[("axis", 0)])
        .node("MatMul", &["x", "w"], "q", &[])
        .node("Reshape", &["q", "split"], "qh", &[])
        .node("Transpose", &["qh"], "turned", &[])
        .node("Softmax", &["turned"], "soft", &[("axis", 1)])
        .node("Transpose", &["soft"], "back", &[])
        .node("Concat", &["batch", "length", "four"], "joined", &[("axis", 0)])
        .node("Reshape", &["back", "joined"], "y", &[]);
    assert_eq!(prove_rows(&separate.bytes()), RowProof::Separate);
    let demo = plimsoll::base::bundled::file("digits.onnx").expect("bundled");
    assert_eq!(prove_rows(demo), RowProof::Separate);
}
