//! Divisions by one number are exact, whatever comes after them; reflections that are too long fail; what the engine does
//! not pad or repeat is rejected.

use rten::Value;
use rten_onnx::onnx::{DataType, GraphProto, NodeProto, TensorProto, ValueInfoProto};
use rten_tensor::Tensor;
use rten_tensor::prelude::*;

use crate::graphs::{With, file, floats, input, ints, named, run, shaped, text, value};

fn model(inputs: Vec<ValueInfoProto>, node: Vec<NodeProto>, initializer: Vec<TensorProto>) -> Vec<u8> {
    file(GraphProto { input: inputs, node, output: vec![value("y")], initializer, ..GraphProto::default() }, 17)
}

/// The numbers of the first output.
fn numbers(bytes: Vec<u8>, x: Value) -> Result<Vec<f64>, String> {
    Ok(match run(bytes, &[("x", x)])? {
        Value::FloatTensor(y) => y.iter().map(|&it| it.into()).collect(),
        Value::Int32Tensor(y) => y.iter().map(|&it| it.into()).collect(),
        other => panic!("{other:?}"),
    })
}

/// 1/41 is rounded down, so 41 times it is less than 1.
const DIVISORS: [f32; 5] = [41.0, 47.0, 55.0, 61.0, 82.0];

#[test]
fn a_division_by_one_number_is_exact_before_any_operator() {
    for divisor in DIVISORS {
        assert!(divisor * (1.0 / divisor) < 1.0, "{divisor}");
        let ratio = || named("Div", &["x", "divisor"], &["ratio"], &[]);
        let less = || named("Sub", &["ratio", "one"], &["less"], &[]);
        let cases: [(&str, Vec<NodeProto>, f64); 9] = [
            ("the result", vec![named("Div", &["x", "divisor"], &["y"], &[])], 1.0),
            ("Sqrt", vec![ratio(), less(), named("Sqrt", &["less"], &["y"], &[])], 0.0),
            ("Sign", vec![ratio(), less(), named("Sign", &["less"], &["y"], &[])], 0.0),
            ("Reciprocal", vec![ratio(), less(), named("Reciprocal", &["less"], &["y"], &[])], f64::INFINITY),
            (
                "Floor of Pow",
                vec![
                    ratio(),
                    named("Pow", &["ratio", "two"], &["square"], &[]),
                    named("Floor", &["square"], &["y"], &[]),
                ],
                1.0,
            ),
            (
                "Floor of MatMul",
                vec![
                    ratio(),
                    named("MatMul", &["ratio", "matrix"], &["product"], &[]),
                    named("Floor", &["product"], &["y"], &[]),
                ],
                1.0,
            ),
            (
                "Floor of Elu",
                vec![ratio(), named("Elu", &["ratio"], &["elu"], &[]), named("Floor", &["elu"], &["y"], &[])],
                1.0,
            ),
            (
                "Ceil of Abs of Neg",
                vec![
                    ratio(),
                    named("Neg", &["ratio"], &["negative"], &[]),
                    named("Abs", &["negative"], &["positive"], &[]),
                    named("Ceil", &["positive"], &["y"], &[]),
                ],
                1.0,
            ),
            (
                "ArgMax",
                vec![
                    ratio(),
                    named("Concat", &["ratio", "ones"], &["both"], &[("axis", 1)]),
                    named("ArgMax", &["both"], &["y"], &[("axis", 1), ("keepdims", 1)]),
                ],
                0.0,
            ),
        ];
        for (what, nodes, expected) in cases {
            let constants = vec![
                floats("divisor", &[], &[divisor]),
                floats("one", &[], &[1.0]),
                floats("ones", &[1, 1], &[1.0]),
                floats("two", &[], &[2.0]),
                floats("matrix", &[1, 1], &[1.0]),
            ];
            let bytes = model(vec![input("x", DataType::FLOAT, 2)], nodes, constants);
            let x = Tensor::from_data(&[1, 1], vec![divisor]).into();
            assert_eq!(numbers(bytes, x).expect("computed"), [expected], "{what}, {divisor}");
        }
    }
}

/// PyTorch's `interpolate` to a size: the scale is the size divided by that of the value.
#[test]
fn the_size_after_a_resize_by_a_quotient_is_exact() {
    for (width, wanted) in [(41, 82), (47, 94), (55, 110)] {
        let nodes = vec![
            named("Shape", &["x"], &["shape"], &[]),
            named("Gather", &["shape", "three"], &["width"], &[("axis", 0)]),
            named("Cast", &["width"], &["number"], &[("to", 1)]),
            named("Div", &["wanted", "number"], &["scale"], &[]),
            named("Concat", &["ones", "scale"], &["scales"], &[("axis", 0)]),
            named("Resize", &["x", "", "scales"], &["resized"], &[]).with(text("mode", "nearest")),
            named("Shape", &["resized"], &["y"], &[]),
        ];
        let constants =
            vec![ints("three", &[1], &[3]), floats("wanted", &[1], &[wanted as f32]), floats("ones", &[3], &[1.0; 3])];
        let sizes = [Some(1), Some(1), Some(1), None];
        let bytes = model(vec![shaped("x", DataType::FLOAT, &sizes)], nodes, constants);
        let x = Tensor::from_data(&[1, 1, 1, width], vec![1.0f32; width]).into();
        assert_eq!(numbers(bytes, x).expect("computed"), [1.0, 1.0, 1.0, f64::from(wanted)], "{width}");
    }
}

#[test]
fn a_reflection_that_is_longer_than_the_value_fails() {
    let pads = |sizes: &[Option<i64>], pads: &[i64]| {
        let node = named("Pad", &["x", "pads"], &["y"], &[]).with(text("mode", "reflect"));
        model(vec![shaped("x", DataType::FLOAT, sizes)], vec![node], vec![ints("pads", &[4], pads)])
    };
    let x = |width: usize| Tensor::from_data(&[1, width], (0..width).map(|it| it as f32).collect::<Vec<_>>()).into();
    for sizes in [[Some(1), Some(3)], [Some(1), None], [None, None]] {
        assert_eq!(numbers(pads(&sizes, &[0, 2, 0, 1]), x(3)).expect("fits"), [2.0, 1.0, 0.0, 1.0, 2.0, 1.0]);
        let error = numbers(pads(&sizes, &[0, 1, 0, 3]), x(3)).expect_err("too long");
        let text = plimsoll_onnx::refused(&error).unwrap_or(error);
        assert!(text.contains("reflect"), "{text}");
        assert!(numbers(pads(&sizes, &[0, 7, 0, 8]), x(3)).is_err(), "{sizes:?}");
        assert!(numbers(pads(&sizes, &[0, -1, 0, 1]), x(3)).is_err(), "{sizes:?}");
    }
}

/// The check adds a zero, which the engine cannot for this type: each request would fail.
#[test]
fn a_reflection_of_bytes_needs_declared_sizes() {
    let prepared = |size: Option<i64>| {
        let node = named("Pad", &["x", "pads"], &["y"], &[]).with(text("mode", "reflect"));
        let x = shaped("x", DataType::UINT8, &[Some(1), size]);
        plimsoll_onnx::prepare(model(vec![x], vec![node], vec![ints("pads", &[4], &[0, 1, 0, 1])]), &[])
    };
    assert!(prepared(Some(3)).is_ok());
    let error = prepared(None).map(drop).expect_err("not checkable").to_string();
    assert!(error.contains("cannot check the sizes") && error.contains("declare the sizes"), "{error}");
}

/// As ONNX's node tests have it.
#[test]
fn pads_that_a_request_states_are_checked_too() {
    let node = named("Pad", &["x", "pads"], &["y"], &[]).with(text("mode", "reflect"));
    let inputs = vec![input("x", DataType::FLOAT, 2), shaped("pads", DataType::INT64, &[Some(4)])];
    let bytes = model(inputs, vec![node], Vec::new());
    let run = |pads: [i32; 4]| {
        let x = Tensor::from_data(&[1, 3], vec![0.0f32, 1.0, 2.0]).into();
        let pads = Tensor::from_data(&[4], pads.to_vec()).into();
        run(bytes.clone(), &[("x", x), ("pads", pads)])
    };
    let Value::FloatTensor(y) = run([0, 2, 0, 1]).expect("fits") else { panic!("not FLOAT") };
    assert_eq!(y.iter().copied().collect::<Vec<_>>(), [2.0, 1.0, 0.0, 1.0, 2.0, 1.0]);
    for pads in [[0, 3, 0, 0], [0, 0, 0, 3], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, -1]] {
        assert!(run(pads).is_err(), "{pads:?}");
    }
}

#[test]
fn an_upsample_that_reduces_is_rejected() {
    for (scale, is_right) in [(2.0, true), (0.5, false)] {
        let node = named("Upsample", &["x", "scales"], &["y"], &[]).with(text("mode", "nearest"));
        let graph = GraphProto {
            input: vec![shaped("x", DataType::FLOAT, &[Some(1), Some(1), Some(2), Some(2)])],
            node: vec![node],
            output: vec![value("y")],
            initializer: vec![floats("scales", &[4], &[1.0, 1.0, 2.0, scale])],
            ..GraphProto::default()
        };
        let result = plimsoll_onnx::prepare(file(graph, 9), &[]).map(drop).map_err(|error| error.to_string());
        assert_eq!(result.is_ok(), is_right, "{result:?}");
    }
}

/// The engine refuses these in each request.
#[test]
fn padding_of_outer_dimensions_with_elements_is_rejected() {
    let prepared = |mode: &str, pads: [i64; 6]| {
        let node = named("Pad", &["x", "pads"], &["y"], &[]).with(text("mode", mode));
        let x = shaped("x", DataType::FLOAT, &[Some(2), Some(3), None]);
        plimsoll_onnx::prepare(model(vec![x], vec![node], vec![ints("pads", &[6], &pads)]), &[]).map(drop)
    };
    for mode in ["reflect", "edge", "wrap"] {
        assert!(prepared(mode, [0, 1, 0, 0, 2, 1]).is_ok(), "{mode}");
        for pads in [[1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0]] {
            let error = prepared(mode, pads).expect_err("outer").to_string();
            assert!(error.contains("last two dimensions") && error.contains(mode), "{error}");
        }
    }
    assert!(prepared("constant", [1, 0, 0, 1, 0, 0]).is_ok());
}

#[test]
fn a_slope_that_is_larger_than_its_value_is_rejected() {
    let prepared = |slope: &[i64]| {
        let node = named("PRelu", &["x", "slope"], &["y"], &[]);
        let x = shaped("x", DataType::FLOAT, &[Some(1), Some(3), None]);
        let count = slope.iter().product::<i64>() as usize;
        plimsoll_onnx::prepare(model(vec![x], vec![node], vec![floats("slope", slope, &vec![0.5; count])]), &[])
            .map(drop)
    };
    for slope in [&[][..], &[1], &[3, 1], &[1, 3, 4]] {
        assert!(prepared(slope).is_ok(), "{slope:?}");
    }
    for slope in [&[2, 3, 1][..], &[2, 1], &[1, 1, 3, 1]] {
        let error = prepared(slope).expect_err("larger").to_string();
        assert!(error.contains("(PRelu, operator set 17)") && error.contains("the shape of the slope"), "{error}");
    }
}
