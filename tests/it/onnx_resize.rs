//! `Resize` to the nearest element at many sizes. The right elements follow from the formulas of ONNX's operator
//! specification in whole numbers, without rounding errors.

use plimsoll_runtime::nn::{Backend, BackendName};
use plimsoll_runtime::tensor::{Tensor, TensorType};
use plimsoll_tests::onnx::Onnx;

use crate::batch_rows::load;

/// The place that an element comes from, as a fraction: numerator and denominator.
fn place(mode: &str, index: i64, size: i64, length: i64) -> (i64, i64) {
    match mode {
        "asymmetric" => (index * size, length),
        "align_corners" if length == 1 => (0, 1),
        "align_corners" => (index * (size - 1), length - 1),
        "pytorch_half_pixel" if length == 1 => (0, 1),
        _ => ((2 * index + 1) * size - length, 2 * length),
    }
}

fn rounded(mode: &str, (numerator, denominator): (i64, i64)) -> i64 {
    let floor = numerator.div_euclid(denominator);
    let rest = numerator.rem_euclid(denominator);
    match mode {
        "floor" => floor,
        "ceil" => floor + i64::from(rest > 0),
        "round_prefer_floor" => floor + i64::from(2 * rest > denominator),
        _ => floor + i64::from(2 * rest >= denominator),
    }
}

/// A resize of the last two of four dimensions to sizes that are constant, or come from a second input by way of a sum.
fn model(mode: &str, nearest: &str, size: Option<i64>, length: Option<i64>) -> Onnx {
    let mut onnx = Onnx::new(13).input("x", &[Some(1), Some(1), Some(2), size]).output("y", &[None; 4]);
    let sizes = match length {
        Some(length) => {
            onnx = onnx.ints("sizes", &[1, 1, 2, length]);
            "sizes"
        }
        None => {
            // The sizes of the second input.
            onnx = onnx.input("like", &[None; 4]).node("Shape", &["like"], "shape", &[]);
            "shape"
        }
    };
    onnx.node("Resize", &["x", "", "", sizes], "y", &[]).with_texts(&[
        ("mode", "nearest"),
        ("coordinate_transformation_mode", mode),
        ("nearest_mode", nearest),
    ])
}

fn tensor(shape: [u32; 4]) -> Tensor {
    let count: u32 = shape.iter().product();
    let data = (0..count).flat_map(|index| (index as f32).to_le_bytes()).collect();
    Tensor::new(shape.to_vec(), TensorType::Fp32, data)
}

#[test]
fn resizes_to_the_nearest_element_take_the_right_one_at_ties_too() {
    let open = |name: &str, settings: serde_json::Value| -> Box<dyn Backend> {
        name.parse::<BackendName>().expect("known").open(&settings, std::path::Path::new("")).expect("opened")
    };
    let mut backends = vec![open("rten", serde_json::Value::Null)];
    if let Some(library) = crate::models::onnxruntime() {
        backends.push(open("onnxruntime", serde_json::json!({ "library": library, "sessions": 1 })));
    }
    let mut checked = 0;
    for mode in ["half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"] {
        for nearest in ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"] {
            for size in [1, 2, 3, 7, 14, 18, 33] {
                for length in [1, 2, 5, 19, 21, 31, 39, 57] {
                    // Whole places without a rounding error in FLOAT cannot be expected of `floor` and `ceil`.
                    let is_exact = |index: i64| {
                        let (numerator, denominator) = place(mode, index, size, length);
                        nearest.starts_with("round") || numerator.rem_euclid(denominator) != 0
                    };
                    let expected: Vec<i64> = (0..length)
                        .map(|index| rounded(nearest, place(mode, index, size, length)).clamp(0, size - 1))
                        .collect();
                    let mut first: Option<Vec<f32>> = None;
                    for (is_fixed, backend) in backends.iter().flat_map(|it| [(true, it), (false, it)]) {
                        let known = |number: i64| is_fixed.then_some(number);
                        let model = load(&**backend, model(mode, nearest, known(size), known(length)).bytes());
                        let mut inputs = vec![tensor([1, 1, 2, size as u32])];
                        if !is_fixed {
                            inputs.push(tensor([1, 1, 2, length as u32]));
                        }
                        let (_, output) = model.run(&inputs).expect("a run").remove(0);
                        let found: Vec<f32> =
                            output.data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
                        let what = format!("{mode}, {nearest}, {size} to {length}, fixed: {is_fixed}");
                        assert_eq!(found.len() as i64, 2 * length, "{what}");
                        for index in (0..length).filter(|&index| is_exact(index)) {
                            let (at, element) = (index as usize, expected[index as usize]);
                            assert_eq!(found[at], element as f32, "{what}, {index}");
                            // The second row has numbers that are larger by the size.
                            assert_eq!(found[at + length as usize], (element + size) as f32, "{what}, {index}");
                        }
                        // The backends agree in all elements.
                        assert_eq!(&found, first.get_or_insert_with(|| found.clone()), "{what}");
                        checked += 1;
                    }
                }
            }
        }
    }
    assert!(checked >= 1_792, "{checked} resizes were checked");
}
