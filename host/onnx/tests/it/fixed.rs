//! Operators that the engine computes differently, with numbers that show it. The results are those of onnxruntime 1.32.

use rten::Value;
use rten_onnx::onnx::{DataType, GraphProto, NodeProto, TensorProto, ValueInfoProto};
use rten_tensor::Tensor;
use rten_tensor::prelude::*;

use crate::graphs::{With, body, file, graph, input, ints, named, run, value};

fn model(inputs: Vec<ValueInfoProto>, node: Vec<NodeProto>, constants: Vec<TensorProto>, version: i64) -> Vec<u8> {
    let whole =
        GraphProto { input: inputs, node, output: vec![value("y")], initializer: constants, ..GraphProto::default() };
    file(whole, version)
}

fn floats(value: &Value) -> Vec<f64> {
    let Value::FloatTensor(tensor) = value else { panic!("not FLOAT") };
    tensor.iter().map(|&number| f64::from(number)).collect()
}

fn assert_close(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let is_close = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-5);
    assert!(is_close, "{what}: {found:?} instead of {expected:?}");
}

#[test]
fn every_reduction_without_axes_and_with_noop_treats_each_element_alone() {
    const X: [f32; 6] = [1.5, 2.0, 0.25, 3.0, 4.0, 0.5];
    let each = |function: fn(f64) -> f64| X.map(|x| function(f64::from(x))).to_vec();
    for (operator, alone, all) in [
        ("ReduceSum", each(|x| x), 11.25),
        ("ReduceMax", each(|x| x), 4.0),
        ("ReduceMin", each(|x| x), 0.25),
        ("ReduceMean", each(|x| x), 1.875),
        ("ReduceProd", each(|x| x), 4.5),
        ("ReduceL1", each(|x| x), 11.25),
        ("ReduceL2", each(|x| x), 5.618_051),
        ("ReduceLogSum", each(f64::ln), 2.420_368),
        ("ReduceLogSumExp", each(|x| x), 4.494_095),
        ("ReduceSumSquare", each(|x| x * x), 31.5625),
    ] {
        for noop in [0, 1] {
            for keep in [0, 1] {
                for inputs in [&["x"][..], &["x", "none"]] {
                    let attributes = [("noop_with_empty_axes", noop), ("keepdims", keep)];
                    let nodes = vec![named(operator, inputs, &["y"], &attributes)];
                    let bytes = model(vec![input("x", DataType::FLOAT, 2)], nodes, vec![ints("none", &[0], &[])], 18);
                    let what = format!("{operator} of {inputs:?}, noop {noop}, keepdims {keep}");
                    let x = Tensor::from_data(&[2, 3], X.to_vec()).into();
                    let found = run(bytes, &[("x", x)]).unwrap_or_else(|error| panic!("{what}: {error}"));
                    let (shape, expected) = match (noop, keep) {
                        (1, _) => (vec![2, 3], alone.clone()),
                        (_, 1) => (vec![1, 1], vec![all]),
                        _ => (vec![], vec![all]),
                    };
                    assert_eq!(found.shape().to_vec(), shape, "{what}");
                    assert_close(&floats(&found), &expected, &what);
                }
            }
        }
    }
}

/// Before operator set 13, all dimensions from `axis` on are one.
#[test]
fn an_old_softmax_covers_all_dimensions_from_its_axis_also_in_branches_and_loops() {
    let x: Vec<f32> = (0..12).map(|at| (at * 5 % 7) as f32 / 3.0).collect();
    let mut expected = Vec::new();
    for row in x.chunks(6) {
        let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
        expected.extend(row.iter().map(|&x| f64::from(x).exp() / sum));
    }
    for (operator, is_log) in [("Softmax", false), ("LogSoftmax", true)] {
        let expected: Vec<f64> = expected.iter().map(|&part| if is_log { part.ln() } else { part }).collect();
        for place in ["the main graph", "a branch", "a loop", "a branch in a loop"] {
            let softmax = |output: &str| named(operator, &["x"], &[output], &[("axis", 1)]);
            let chosen = |output: &str| {
                let branch = |name: &str, inner: &str| body(name, graph(&[], vec![softmax(inner)], &[inner], vec![]));
                let choice = named("If", &["choice"], &[output], &[]);
                choice.with(branch("then_branch", "a")).with(branch("else_branch", "b"))
            };
            // The loop runs once, and returns what it computes of the value around it.
            let repeated = |inner: NodeProto| {
                let goes_on = named("Identity", &["more"], &["still"], &[]);
                let inner = graph(&["round", "more", "state"], vec![goes_on, inner], &["still", "next"], vec![]);
                named("Loop", &["once", "", "x"], &["y"], &[]).with(body("body", inner))
            };
            let nodes = match place {
                "the main graph" => vec![softmax("y")],
                "a branch" => vec![chosen("y")],
                "a loop" => vec![repeated(softmax("next"))],
                _ => vec![repeated(chosen("next"))],
            };
            let inputs = vec![input("x", DataType::FLOAT, 3), input("choice", DataType::BOOL, 0)];
            let bytes = model(inputs, nodes, vec![ints("once", &[], &[1])], 11);
            for choice in [0, 1] {
                let what = format!("{operator} in {place}, {choice}");
                let given: Value = Tensor::from_data(&[2, 3, 2], x.clone()).into();
                let choice: Value = Tensor::from_data(&[0_usize; 0][..], vec![choice]).into();
                let found = run(bytes.clone(), &[("x", given), ("choice", choice)]);
                let found = found.unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_close(&floats(&found), &expected, &what);
            }
        }
    }
}

#[test]
fn halves_are_quantised_to_even_numbers() {
    for (x, expected) in [
        (vec![0.0f32, 255.0, 0.5, 1.5, 2.5, 3.5, 254.5], vec![0u8, 255, 0, 2, 2, 4, 254]),
        (vec![-128.0, 127.0, 0.5, 1.5, -0.5, -1.5, -2.5], vec![0, 255, 128, 130, 128, 126, 126]),
        (vec![0.0, 510.0, 1.0, 3.0, 5.0, 7.0], vec![0, 255, 0, 2, 2, 4]),
        (vec![-0.5, 254.5, 0.0, 1.0, 2.0], vec![0, 254, 0, 1, 2]),
    ] {
        let nodes = vec![named("DynamicQuantizeLinear", &["x"], &["y", "scale", "zero"], &[])];
        let bytes = model(vec![input("x", DataType::FLOAT, 1)], nodes, vec![], 17);
        let given = Tensor::from_data(&[x.len()], x.clone()).into();
        let Value::UInt8Tensor(found) = run(bytes, &[("x", given)]).expect("computed") else { panic!("not UINT8") };
        assert_eq!(found.iter().copied().collect::<Vec<_>>(), expected, "{x:?}");
    }
}

#[test]
fn every_number_but_zero_is_true() {
    let (x, expected): (Vec<f32>, Vec<f64>) = [
        (0.0, 0.0),
        (-0.0, 0.0),
        (0.5, 1.0),
        (-0.25, 1.0),
        (1e-45, 1.0),
        (-1e-40, 1.0),
        (256.0, 1.0),
        (3e38, 1.0),
        (f32::INFINITY, 1.0),
        (f32::NAN, 1.0),
    ]
    .into_iter()
    .unzip();
    let to = |ty: DataType| [("to", i64::from(ty.0))];
    let nodes =
        vec![named("Cast", &["x"], &["b"], &to(DataType::BOOL)), named("Cast", &["b"], &["y"], &to(DataType::FLOAT))];
    let bytes = model(vec![input("x", DataType::FLOAT, 1)], nodes, vec![], 17);
    let given = Tensor::from_data(&[x.len()], x.clone()).into();
    let found = run(bytes, &[("x", given)]).expect("computed");
    assert_close(&floats(&found), &expected, &format!("{x:?}"));
}
