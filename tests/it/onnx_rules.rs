//! Models that rten would compute wrongly without a rule: each gives the right answer on every engine, or is refused with
//! the reason. The right answers are computed here.

use std::path::{Path, PathBuf};

use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{Reply, Server, TempDir};
use rten_onnx::onnx::DataType;
use serde_json::{Value, json};

use crate::model_cases::assert_output;

/// The number of ONNX for FLOAT and INT64, which `Cast` takes.
const FLOAT: i64 = 1;
const INT64: i64 = 7;

/// The backends. `infer-wasm` uses the same rules, which the node tests run there; it needs seconds for each model here.
fn engines() -> Vec<(&'static str, &'static str)> {
    crate::model_cases::engines().into_iter().filter(|engine| engine.1 == "infer-native").collect()
}

/// A pipeline `p` with the model. Its preprocess stage accepts no sample, because the models take no images.
fn config(file: &Path, engine: (&'static str, &'static str)) -> String {
    crate::model_cases::config(file, engine, "").replace("input = \"image\"", "max_pixels = 1")
}

/// A model in a folder of its own.
struct Stored {
    folder: TempDir,
    file: PathBuf,
}

impl Stored {
    fn new(model: &Onnx) -> Self {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("model.onnx");
        std::fs::write(&file, model.bytes()).expect("written");
        Self { folder, file }
    }

    async fn serve(&self, engine: (&'static str, &'static str)) -> Server {
        Server::start(&config(&self.file, engine)).await
    }
}

fn floats(name: &str, shape: &[usize], data: &[f32]) -> Value {
    json!({ "name": name, "shape": shape, "datatype": "FP32", "data": data })
}

fn ints(name: &str, data: &[i64]) -> Value {
    json!({ "name": name, "shape": [data.len()], "datatype": "INT64", "data": data })
}

async fn infer(server: &Server, inputs: &[Value]) -> Reply {
    server.infer_json("p.infer", &json!({ "inputs": inputs })).await
}

/// Runs a model on every engine, and compares its first output.
async fn assert_right(model: &Onnx, inputs: &[Value], shape: &[usize], expected: &[f64], what: &str) {
    let stored = Stored::new(model);
    // onnxruntime ignores NaN in windows.
    for engine in engines().into_iter().filter(|engine| engine.0 == "rten" || what != "MaxPool") {
        let server = stored.serve(engine).await;
        let reply = infer(&server, inputs).await;
        assert_eq!(reply.status, 200, "{what} on {engine:?}: {}", reply.text);
        assert_output(&reply.json()["outputs"][0], &json!(shape), expected, &format!("{what} on {engine:?}"));
    }
}

/// Runs a model with rten, which refuses the request and goes on.
async fn assert_refused(model: &Onnx, inputs: &[Value], parts: &[&str]) {
    let stored = Stored::new(model);
    for engine in engines().into_iter().filter(|engine| engine.0 == "rten") {
        let server = stored.serve(engine).await;
        let reply = infer(&server, inputs).await;
        assert!(matches!(reply.status, 400 | 422), "{engine:?}: {} {}", reply.status, reply.text);
        for part in parts {
            assert!(reply.text.contains(part), "{engine:?}: `{part}` in {}", reply.text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_whose_dimensions_have_one_name_may_differ_in_size() {
    // Both inputs have the dimension `size_0`.
    let model = Onnx::new(13)
        .input("a", &[None])
        .input("b", &[None])
        .node("Add", &["a", "b"], "sum", &[])
        .node("Shape", &["sum"], "shape", &[])
        .node("Cast", &["shape"], "y", &[("to", FLOAT)])
        .output("y", &[Some(1)]);
    let inputs = [floats("a", &[1], &[1.0]), floats("b", &[3], &[1.0, 2.0, 3.0])];
    assert_right(&model, &inputs, &[1], &[3.0], "Shape(a + b)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_shape_that_is_wrong_does_not_change_the_answer() {
    let model = Onnx::new(13)
        .input("x", &[None, Some(2)])
        .node("Relu", &["x"], "y", &[])
        .node("Shape", &["y"], "shape", &[])
        .node("Cast", &["shape"], "sizes", &[("to", FLOAT)])
        .output("sizes", &[Some(2)])
        .output("y", &[Some(1), Some(2)]);
    let x = floats("x", &[3, 2], &[1.0; 6]);
    let stored = Stored::new(&model);
    for engine in engines().into_iter().filter(|engine| engine.0 == "rten") {
        let reply = infer(&stored.serve(engine).await, std::slice::from_ref(&x)).await;
        assert_output(&reply.json()["outputs"][0], &json!([2]), &[3.0, 2.0], &format!("{engine:?}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn constants_that_resemble_those_of_a_joined_operator_are_kept() {
    let x = [-6.0f32, -3.0, 0.5, 50.0];
    let input = [floats("x", &[4], &x)];
    // GELU, x · (tanh(√(2/π) · (x + 0.044715 x³)) + 1) · 0.5, with another 1 or another half.
    for (one, half) in [(1.000_09f32, 0.5f32), (1.0, 0.500_09)] {
        let model = Onnx::new(13)
            .input("x", &[None])
            .floats("scale", &[], &[(2.0f32 / std::f32::consts::PI).sqrt()])
            .floats("cubic", &[], &[0.044_715])
            .floats("one", &[], &[one])
            .floats("half", &[], &[half])
            .floats("three", &[], &[3.0])
            .node("Pow", &["x", "three"], "power", &[])
            .node("Mul", &["power", "cubic"], "term", &[])
            .node("Add", &["x", "term"], "sum", &[])
            .node("Mul", &["sum", "scale"], "scaled", &[])
            .node("Tanh", &["scaled"], "curve", &[])
            .node("Add", &["curve", "one"], "shifted", &[])
            .node("Mul", &["x", "half"], "halved", &[])
            .node("Mul", &["halved", "shifted"], "y", &[])
            .output("y", &[None]);
        let (one, half) = (f64::from(one), f64::from(half));
        let scale = (2.0f64 / std::f64::consts::PI).sqrt();
        let of = |x: f64| x * half * ((scale * (x + 0.044_715 * x.powi(3))).tanh() + one);
        let expected: Vec<f64> = x.iter().map(|&x| of(x.into())).collect();
        assert_right(&model, &input, &[4], &expected, &format!("1 is {one}, 0.5 is {half}")).await;
    }
    // Softmax whose NaN is replaced by a small number instead of 0.
    let model = Onnx::new(13)
        .input("x", &[Some(2)])
        .floats("zero", &[], &[0.0])
        .floats("small", &[], &[5e-5])
        .node("Div", &["x", "zero"], "infinite", &[])
        .node("Softmax", &["infinite"], "softmax", &[("axis", 0)])
        .node("IsNaN", &["softmax"], "is_nan", &[])
        .node("Where", &["is_nan", "small", "softmax"], "y", &[])
        .output("y", &[Some(2)]);
    assert_right(&model, &[floats("x", &[2], &[-1.0, -1.0])], &[2], &[5e-5, 5e-5], "safe softmax").await;
    let model = Onnx::new(13)
        .input("x", &[None])
        .floats("one", &[], &[1.000_09])
        .node("Div", &["one", "x"], "y", &[])
        .floats("many", &[], &[1e4])
        .node("Mul", &["y", "many"], "z", &[])
        .node("Floor", &["z"], "floor", &[])
        .output("floor", &[None]);
    assert_right(&model, &[floats("x", &[1], &[1.0])], &[1], &[10_000.0], "1.00009 / x").await;
}

/// A normalization over the last dimension, made of single nodes.
fn normalization(keepdims: i64, scale_shape: &[i64], scale: &[f32]) -> Onnx {
    Onnx::new(13)
        .input("x", &[Some(2), Some(2)])
        .floats("two", &[], &[2.0])
        .floats("epsilon", &[], &[1e-5])
        .floats("scale", scale_shape, scale)
        .node("ReduceMean", &["x"], "mean", &[("keepdims", keepdims)])
        .with_lists(&[("axes", &[-1])])
        .node("Sub", &["x", "mean"], "centred", &[])
        .node("Pow", &["centred", "two"], "square", &[])
        .node("ReduceMean", &["square"], "variance", &[("keepdims", keepdims)])
        .with_lists(&[("axes", &[-1])])
        .node("Add", &["variance", "epsilon"], "sum", &[])
        .node("Sqrt", &["sum"], "root", &[])
        .node("Div", &["centred", "root"], "normalized", &[])
        .node("Mul", &["normalized", "scale"], "y", &[])
        .output("y", &[Some(2), Some(2)])
}

#[tokio::test(flavor = "multi_thread")]
async fn normalizations_that_are_not_those_of_layers_are_not_joined() {
    let input = [floats("x", &[2, 2], &[1.0, 3.0, 2.0, 10.0])];
    // Without kept dimensions the means of the rows are subtracted from the columns: [1 - 2, 3 - 6], [2 - 2, 10 - 6].
    let roots = [(5.0f64 + 1e-5).sqrt(), (8.0f64 + 1e-5).sqrt()];
    let expected = [-1.0 / roots[0], -3.0 / roots[1], 0.0, 4.0 / roots[1]];
    assert_right(&normalization(0, &[2], &[1.0, 1.0]), &input, &[2, 2], &expected, "keepdims = 0").await;
    // A scale per row.
    let roots = [(1.0f64 + 1e-5).sqrt(), (16.0f64 + 1e-5).sqrt()];
    let expected = [-2.0 / roots[0], 2.0 / roots[0], -12.0 / roots[1], 12.0 / roots[1]];
    assert_right(&normalization(1, &[2, 1], &[2.0, 3.0]), &input, &[2, 2], &expected, "scale of rows").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_that_enlarges_a_matrix_product_is_added() {
    let model = Onnx::new(13)
        .input("x", &[Some(2), Some(1)])
        .floats("w", &[1, 1], &[2.0])
        .floats("b", &[3], &[1.0, 2.0, 3.0])
        .node("MatMul", &["x", "w"], "product", &[])
        .node("Add", &["product", "b"], "y", &[])
        .output("y", &[Some(2), Some(3)]);
    let expected = [3.0, 4.0, 5.0, 5.0, 6.0, 7.0];
    assert_right(&model, &[floats("x", &[2, 1], &[1.0, 2.0])], &[2, 3], &expected, "offset").await;
    // The product of the scales exceeds FLOAT.
    let model = Onnx::new(13)
        .input("x", &[Some(1), Some(1)])
        .floats("huge", &[], &[1e25])
        .floats("tiny", &[1, 1], &[1e-25])
        .node("Mul", &["x", "huge"], "left", &[])
        .node("Mul", &["tiny", "huge"], "right", &[])
        .node("MatMul", &["left", "right"], "y", &[])
        .output("y", &[Some(1), Some(1)]);
    assert_right(&model, &[floats("x", &[1, 1], &[2e-25])], &[1, 1], &[2.0], "scales").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn integers_beyond_32_bits_are_refused_with_the_node() {
    let squared = Onnx::new(13)
        .input("x", &[None])
        .node("Shape", &["x"], "shape", &[])
        .node("Mul", &["shape", "shape"], "y", &[])
        .int_output("y", &[Some(1)]);
    assert_right(&squared, &[floats("x", &[300], &[0.0; 300])], &[1], &[90_000.0], "a small square").await;
    let large = floats("x", &[50_000], &vec![0.0; 50_000]);
    assert_refused(&squared, &[large], &["exceeds 32 bits", "node_y"]).await;
    let sum = Onnx::new(13).int_input("x", &[None]).node("Add", &["x", "x"], "y", &[]).int_output("y", &[None]);
    assert_right(&sum, &[ints("x", &[7, -9])], &[2], &[14.0, -18.0], "a small sum").await;
    assert_refused(&sum, &[ints("x", &[7, 2_000_000_000])], &["exceeds 32 bits", "node_y"]).await;
    assert_refused(&sum, &[ints("x", &[1 << 40])], &["1099511627776"]).await;
    let cast = Onnx::new(13).input("x", &[None]).node("Cast", &["x"], "y", &[("to", INT64)]).int_output("y", &[None]);
    assert_right(&cast, &[floats("x", &[2], &[2.7, -2.7])], &[2], &[2.0, -2.0], "a small number").await;
    assert_refused(&cast, &[floats("x", &[1], &[3e9])], &["does not fit", "node_y"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn division_before_rounding_is_exact_behind_any_operator_that_keeps_numbers() {
    // 15 · 1.1 / 1.1 is 15, but 15 · 1.1 · (1 / 1.1) is less in FLOAT.
    let x = 15.0f32 * 1.1;
    let model = Onnx::new(13)
        .input("x", &[Some(1)])
        .floats("divisor", &[], &[1.1])
        .ints("repeats", &[2])
        .node("Div", &["x", "divisor"], "ratio", &[])
        .node("Tile", &["ratio", "repeats"], "many", &[])
        .node("Floor", &["many"], "y", &[])
        .output("y", &[Some(2)]);
    let expected = f64::from((x / 1.1f32).floor());
    assert_right(&model, &[floats("x", &[1], &[x])], &[2], &[expected, expected], "Tile").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_do_not_overflow() {
    let of = |operator: &str| Onnx::new(13).input("x", &[None]).node(operator, &["x"], "y", &[]).output("y", &[None]);
    let input = [floats("x", &[3], &[100.0, 1e17, 1.0])];
    let soft = [100.0, 1e17, 1.0f64.exp().ln_1p()];
    assert_right(&of("Softplus"), &input, &[3], &soft, "Softplus").await;
    let large = [floats("x", &[2], &[1e30, 2.0])];
    let expected = [1e30f64.asinh(), 2.0f64.asinh()];
    assert_right(&of("Asinh"), &large, &[2], &expected, "Asinh").await;
    assert_right(&of("Acosh"), &large, &[2], &[1e30f64.acosh(), 2.0f64.acosh()], "Acosh").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nan_that_a_model_computes_is_kept_and_huge_inputs_are_refused() {
    for operator in ["Relu", "Clip", "MaxPool"] {
        let mut model = Onnx::new(13)
            .input("x", &[Some(1), Some(1), Some(2)])
            .floats("zero", &[], &[0.0])
            .node("Mul", &["x", "zero"], "zeros", &[])
            .node("Div", &["x", "zeros"], "ratio", &[])
            .node("Mul", &["ratio", "zero"], "maybe", &[]);
        model = match operator {
            "Clip" => model.node("Clip", &["maybe", "zero"], "bounded", &[]),
            "MaxPool" => model.node("MaxPool", &["maybe"], "bounded", &[]).with_lists(&[("kernel_shape", &[2])]),
            _ => model.node("Relu", &["maybe"], "bounded", &[]),
        };
        let pooled = if operator == "MaxPool" { 1 } else { 2 };
        let model = model
            .node("IsNaN", &["bounded"], "is_nan", &[])
            .node("Cast", &["is_nan"], "y", &[("to", FLOAT)])
            .output("y", &[Some(1), Some(1), Some(pooled)]);
        let input = [floats("x", &[1, 1, 2], &[1.0, 2.0])];
        let expected = vec![1.0; pooled as usize];
        assert_right(&model, &input, &[1, 1, pooled as usize], &expected, operator).await;
        let huge = floats("x", &[1, 1, 2], &[1.0, 3e38]);
        assert_refused(&model, &[huge], &["`x`", "3e38", "NaN"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_cannot_ask_for_a_tensor_or_a_loop_of_any_size() {
    let sizes = ints("sizes", &[200_000, 400_000]);
    for operator in ["ConstantOfShape", "Expand", "Tile", "Pad"] {
        let mut model = Onnx::new(13).int_input("sizes", &[Some(2)]).floats("one", &[1, 1], &[1.0]);
        model = match operator {
            "ConstantOfShape" => model.node(operator, &["sizes"], "made", &[]),
            "Pad" => model.ints("none", &[0, 0]).node("Concat", &["none", "sizes"], "pads", &[("axis", 0)]).node(
                "Pad",
                &["one", "pads"],
                "made",
                &[],
            ),
            _ => model.node(operator, &["one", "sizes"], "made", &[]),
        };
        let model = model.node("ReduceSum", &["made"], "y", &[("keepdims", 0)]).output("y", &[]);
        assert_refused(&model, std::slice::from_ref(&sizes), &["too large", "node_made"]).await;
        let expected = match operator {
            "ConstantOfShape" => 0.0,
            "Pad" => 1.0,
            _ => 6.0,
        };
        assert_right(&model, &[ints("sizes", &[2, 3])], &[], &[expected], operator).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_in_files_are_found_without_a_length_in_any_inner_folder_and_are_checked() {
    let bytes: Vec<u8> = [1.0f32, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    for location in ["w.data", "./w.data", "weights/w.bin"] {
        let model = Onnx::new(13)
            .input("x", &[Some(2)])
            .stored("w", &[2], DataType::FLOAT, location)
            .node("Add", &["x", "w"], "y", &[])
            .output("y", &[Some(2)]);
        let stored = Stored::new(&model);
        let path = stored.folder.path().join(location);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("created");
        std::fs::write(&path, &bytes).expect("written");
        for engine in engines() {
            let reply = infer(&stored.serve(engine).await, &[floats("x", &[2], &[1.0, 1.0])]).await;
            assert_eq!(reply.status, 200, "{location} on {engine:?}: {}", reply.text);
            assert_output(&reply.json()["outputs"][0], &json!([2]), &[2.0, 3.0], location);
        }
        // Half of the file.
        std::fs::write(&path, &bytes[..4]).expect("written");
        for engine in engines().into_iter().filter(|engine| engine.0 == "rten") {
            let message = Server::rejection(&config(&stored.file, engine)).await;
            assert!(message.contains("`w`") && message.contains("8 bytes"), "{engine:?}: {message}");
        }
    }
    let model = Onnx::new(13)
        .int_input("i", &[None])
        .stored("table", &[2], DataType::INT64, "table.data")
        .node("Gather", &["table", "i"], "y", &[])
        .int_output("y", &[None]);
    let stored = Stored::new(&model);
    let table: Vec<u8> = [1i64 << 40, 5].iter().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(stored.folder.path().join("table.data"), table).expect("written");
    for engine in engines().into_iter().filter(|engine| engine.0 == "rten") {
        let message = Server::rejection(&config(&stored.file, engine)).await;
        assert!(message.contains("node_y") && message.contains("32-bit"), "{engine:?}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slice_of_an_old_operator_set_needs_no_axes() {
    let model = Onnx::new(9)
        .input("x", &[Some(4)])
        .node("Slice", &["x"], "y", &[])
        .with_lists(&[("starts", &[1]), ("ends", &[-1])])
        .output("y", &[Some(2)]);
    assert_right(&model, &[floats("x", &[4], &[1.0, 2.0, 3.0, 4.0])], &[2], &[2.0, 3.0], "Slice").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_engine_names_a_node_without_a_name() {
    let model = Onnx::new(6)
        .input("x", &[Some(2), Some(2)])
        .floats("b", &[2], &[1.0, 2.0])
        .node("Add", &["x", "b"], "y", &[("broadcast", 1), ("axis", 0)])
        .output("y", &[Some(2), Some(2)]);
    let stored = Stored::new(&model);
    let message = Server::rejection(&config(&stored.file, engines()[0])).await;
    assert!(message.contains("node_y") && message.contains("broadcast"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guest_follows_the_same_rules() {
    let model = Onnx::new(13)
        .input("x", &[None])
        .stored("w", &[1], DataType::FLOAT, "weights/w.data")
        .node("Relu", &["x"], "positive", &[])
        .node("Add", &["positive", "w"], "sum", &[])
        .node("Shape", &["sum"], "shape", &[])
        .node("Mul", &["shape", "shape"], "y", &[])
        .int_output("y", &[Some(1)]);
    let stored = Stored::new(&model);
    std::fs::create_dir(stored.folder.path().join("weights")).expect("created");
    std::fs::write(stored.folder.path().join("weights/w.data"), 1.0f32.to_le_bytes()).expect("written");
    let server = stored.serve(("rten", "infer-wasm")).await;
    let reply = infer(&server, &[floats("x", &[3], &[1.0; 3])]).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_output(&reply.json()["outputs"][0], &json!([1]), &[9.0], "a square");
    let reply = infer(&server, &[floats("x", &[50_000], &vec![0.0; 50_000])]).await;
    assert!(
        matches!(reply.status, 400 | 422) && reply.text.contains("exceeds 32 bits"),
        "{} {}",
        reply.status,
        reply.text
    );
    let reply = infer(&server, &[floats("x", &[1], &[3e38])]).await;
    assert!(matches!(reply.status, 400 | 422) && reply.text.contains("NaN"), "{} {}", reply.status, reply.text);
}
