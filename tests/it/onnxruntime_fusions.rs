//! Operators that onnxruntime's optimiser joins although the joined operator computes other numbers or other shapes. The
//! right answers are computed here.

use plimsoll_runtime::tensor::{Tensor, TensorType};
use plimsoll_tests::onnx::Onnx;
use rten_onnx::onnx::DataType;

use crate::batch_rows::{load, source};
use crate::onnxruntime_models::{backend, floats as numbers, run};
use crate::stored_model::{FLOAT, assert_right, floats};

#[tokio::test(flavor = "multi_thread")]
async fn a_transposed_matrix_is_multiplied_by_a_vector() {
    let model = Onnx::new(13)
        .input("x", &[None, None])
        .input("v", &[None])
        .node("Transpose", &["x"], "turned", &[])
        .node("MatMul", &["turned", "v"], "y", &[])
        .output("y", &[None]);
    let inputs =
        [floats("x", &[3, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0]), floats("v", &[3], &[1.0, 10.0, 100.0])];
    assert_right(&model, &inputs, &[3], &[741.0, 852.0, 1063.0], "vector").await;
}

/// The optimiser makes one operator of the two, which by default also rounds `x` to 8 bits.
#[tokio::test(flavor = "multi_thread")]
async fn a_product_with_quantised_weights_does_not_round_the_other_factor() {
    let weights: Vec<i8> = (0..40).map(|at| (at * 37 + 11) as u8 as i8).collect();
    let scales = [0.1_f32, 0.2, 0.3, 0.4, 0.5];
    let bytes: Vec<u8> = weights.iter().map(|weight| *weight as u8).collect();
    let model = Onnx::new(21)
        .input("x", &[None, Some(8)])
        .typed("w", &[8, 5], DataType::INT8, &bytes)
        .floats("scale", &[5], &scales)
        .typed("zero", &[5], DataType::INT8, &[3; 5])
        .node("DequantizeLinear", &["w", "scale", "zero"], "weights", &[("axis", 1)])
        .node("MatMul", &["x", "weights"], "y", &[])
        .output("y", &[None, Some(5)]);
    let x: Vec<f32> = (0..24).map(|at| ((at * 7919 % 1009) as f32 - 500.0) / 301.0).collect();
    let element = |row: usize, column: usize| -> f64 {
        let weight = |at: usize| (f64::from(weights[5 * at + column]) - 3.0) * f64::from(scales[column]);
        (0..8).map(|at| f64::from(x[8 * row + at]) * weight(at)).sum()
    };
    let expected: Vec<f64> = (0..15).map(|at| element(at / 5, at % 5)).collect();
    assert_right(&model, &[floats("x", &[3, 8], &x)], &[3, 5], &expected, "quantised weights").await;
}

/// A normalisation of `x` whose constant `which` has the shape [1, 1, 1, 1] or [1, 1, 1, 4].
fn normalisation(which: &str, has_mean: bool) -> Onnx {
    let of = |name: &str| if name == which { vec![1, 1, 1, 1] } else { vec![] };
    let of_four = |name: &str| if name == which { vec![1, 1, 1, 4] } else { vec![4] };
    let model = Onnx::new(13)
        .input("x", &[None, None, Some(4)])
        .floats("two", &of("two"), &[2.0])
        .floats("epsilon", &of("epsilon"), &[0.5])
        .floats("scale", &of_four("scale"), &[1.0, 2.0, 3.0, 4.0])
        .floats("offset", &of_four("offset"), &[0.25; 4]);
    let axes = [("axes", &[-1][..])];
    let model = match has_mean {
        true => model.node("ReduceMean", &["x"], "mean", &[]).with_lists(&axes).node("Sub", &["x", "mean"], "c", &[]),
        false => model.node("Identity", &["x"], "c", &[]),
    };
    model
        .node("Pow", &["c", "two"], "square", &[])
        .node("ReduceMean", &["square"], "variance", &[])
        .with_lists(&axes)
        .node("Add", &["variance", "epsilon"], "safe", &[])
        .node("Sqrt", &["safe"], "deviation", &[])
        .node("Div", &["c", "deviation"], "normal", &[])
        .node("Mul", &["normal", "scale"], "scaled", &[])
        .node("Add", &["scaled", "offset"], "y", &[])
        .output("y", &[None, None, None, Some(4)])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_normalisation_keeps_the_dimensions_that_a_constant_adds() {
    let x = [1.0_f32, 2.0, 6.0, -1.0, 0.5, 0.5, 0.0, 3.0];
    for has_mean in [true, false] {
        let mut expected = Vec::new();
        for row in x.chunks(4) {
            let mean = if has_mean { row.iter().sum::<f32>() / 4.0 } else { 0.0 };
            let variance = row.iter().map(|value| f64::from(value - mean).powi(2)).sum::<f64>() / 4.0;
            let normal = row.iter().map(|value| f64::from(value - mean) / (variance + 0.5).sqrt());
            expected.extend(normal.enumerate().map(|(column, value)| value * (column as f64 + 1.0) + 0.25));
        }
        for which in ["two", "epsilon", "scale", "offset"] {
            // rten joins these, and refuses the request.
            if has_mean && matches!(which, "scale" | "offset") {
                continue;
            }
            let what = format!("{which}, with a mean: {has_mean}");
            let model = normalisation(which, has_mean);
            assert_right(&model, &[floats("x", &[1, 2, 4], &x)], &[1, 1, 2, 4], &expected, &what).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_with_an_inverse_keeps_the_dimensions_of_both() {
    let model = Onnx::new(13)
        .input("x", &[None])
        .input("z", &[None])
        .floats("one", &[1, 1], &[1.0])
        .node("Div", &["one", "z"], "inverse", &[])
        .node("Mul", &["inverse", "x"], "y", &[])
        .output("y", &[None, None]);
    let inputs = [floats("x", &[2], &[3.0, 8.0]), floats("z", &[2], &[2.0, 4.0])];
    assert_right(&model, &inputs, &[1, 2], &[1.5, 2.0], "inverse").await;
}

/// rten rejects the operator.
#[test]
fn a_scaled_product_of_integers_keeps_the_dimensions_of_its_scale_and_takes_vectors() {
    let Some(backend) = backend() else { return };
    let of = |x: &[Option<i64>], scale: &[i64], weights: &[i64], y: &[Option<i64>]| {
        let model = Onnx::new(13)
            .typed_input("x", x, DataType::UINT8)
            .input("factors", &[None])
            .typed("w", weights, DataType::UINT8, &[3, 4])
            .floats("scale", scale, &[0.5])
            .node("MatMulInteger", &["x", "w"], "product", &[])
            .node("Cast", &["product"], "number", &[("to", FLOAT)])
            .node("Mul", &["factors", "scale"], "factor", &[])
            .node("Mul", &["number", "factor"], "y", &[]);
        load(&*backend, model.output("y", y).bytes())
    };
    let integers = |shape: &[u32], values: &[u8]| Tensor::new(shape.to_vec(), TensorType::U8, values.to_vec());
    let matrix = of(&[None, Some(2)], &[1, 1, 1], &[2, 1], &[None; 3]);
    let outputs = matrix.run(&[integers(&[2, 2], &[1, 2, 3, 4]), numbers(&[1], &[2.0])]).expect("computed");
    assert_eq!(outputs[0].1.dimensions, [1, 2, 1]);
    assert_eq!(run(&*matrix, &[integers(&[2, 2], &[1, 2, 3, 4]), numbers(&[1], &[2.0])]), [11.0, 25.0]);
    let vector = of(&[Some(2)], &[], &[2], &[None]);
    assert_eq!(run(&*vector, &[integers(&[2], &[1, 2]), numbers(&[2], &[2.0, 4.0])]), [11.0, 22.0]);
}

/// A quantisation with another scale in the middle rounds once more.
#[test]
fn a_quantisation_between_two_others_is_kept() {
    let Some(backend) = backend() else { return };
    let mut model = Onnx::new(13).input("x", &[None]).typed("zero", &[], DataType::UINT8, &[0]);
    let mut value = "x".to_owned();
    for (index, scale) in [0.1, 0.25, 0.1].into_iter().enumerate() {
        let (scale_name, quantised, next) = (format!("s{index}"), format!("q{index}"), format!("y{index}"));
        model = model
            .floats(&scale_name, &[], &[scale])
            .node("QuantizeLinear", &[&value, &scale_name, "zero"], &quantised, &[])
            .node("DequantizeLinear", &[&quantised, &scale_name, "zero"], &next, &[]);
        value = next;
    }
    let model = load(&*backend, model.output("y2", &[None]).bytes());
    // 0.6 is 6 steps of 0.1, then 2 of 0.25, then 5 of 0.1.
    assert_eq!(run(&*model, &[numbers(&[2], &[0.6, 1.0])]), [0.5, 1.0]);
}

/// The library gives the shape [3, 1] if it computes the slice, and [3, 0] if it infers the shape before.
#[test]
fn a_slice_backwards_to_the_largest_integer_is_refused() {
    let Some(backend) = backend() else { return };
    let of = |end: i64| {
        let model = Onnx::new(13)
            .input("x", &[None, None])
            .ints("start", &[0])
            .ints("end", &[end])
            .ints("axis", &[-1])
            .ints("step", &[-1])
            .node("Slice", &["x", "start", "end", "axis", "step"], "y", &[])
            .output("y", &[None, None]);
        backend.load(&source(model.bytes())).map(|_| ()).map_err(|error| error.to_string())
    };
    let error = of(i64::MAX).expect_err("refused");
    assert!(
        error.contains("node `node_y` (Slice, operator set 13)") && error.contains("give the least integer"),
        "{error}"
    );
    assert_eq!(of(i64::MIN), Ok(()));
}
