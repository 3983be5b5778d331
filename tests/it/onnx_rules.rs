//! Models that rten would compute wrongly without a rule: each gives the right answer on every engine, or is refused with
//! the reason. The right answers are computed here.

use plimsoll_tests::Server;
use plimsoll_tests::onnx::Onnx;
use rten_onnx::onnx::DataType;
use serde_json::json;

use crate::model_cases::assert_output;
use crate::stored_model::{FLOAT, Stored, assert_right, config, engines, floats, infer};

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
    // Newer operator sets do not have the attribute.
    let model = Onnx::new(13)
        .input("x", &[Some(2), Some(2)])
        .floats("b", &[2], &[1.0, 2.0])
        .node("Add", &["x", "b"], "y", &[("broadcast", 1)])
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
