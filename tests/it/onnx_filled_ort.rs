//! Inputs without elements with which onnxruntime would end the process: the request is refused with the node's name, also
//! if the model computes the size, and in functions.

use plimsoll_runtime::nn::Backend;
use plimsoll_runtime::tensor::{Tensor, TensorType};
use plimsoll_tests::onnx::Onnx;

use crate::batch_rows::load;
use crate::onnx_division::{field, function_of, node};
use crate::onnx_empty::{backends, floats};

fn onnxruntime() -> Option<Box<dyn Backend>> {
    backends().into_iter().find(|(name, _)| *name == "onnxruntime").map(|(_, backend)| backend)
}

fn zeros(shape: &[u32]) -> Tensor {
    floats(shape, &vec![0.0; shape.iter().product::<u32>() as usize])
}

const SEQUENCE: [Option<i64>; 3] = [None, None, Some(2)];
const STATES: [Option<i64>; 4] = [None; 4];

fn weights(onnx: Onnx, gates: i64) -> Onnx {
    let filled = |columns: i64| vec![0.5; (gates * 3 * columns) as usize];
    onnx.floats("w", &[1, gates * 3, 2], &filled(2)).floats("r", &[1, gates * 3, 3], &filled(3))
}

const RECURRENT: [(&str, i64); 2] = [("LSTM", 4), ("GRU", 3)];

fn assert_refused(backend: &dyn Backend, bytes: Vec<u8>, inputs: &[Tensor], operator: &str) {
    let error = load(backend, bytes).run(inputs).expect_err(operator).to_string();
    for part in [operator, "got an input without elements; send inputs with at least one element"] {
        assert!(error.contains(part), "{operator}: `{part}` in {error}");
    }
}

#[test]
fn a_recurrent_network_without_rows_does_not_end_the_process() {
    let Some(backend) = onnxruntime() else { return };
    for (operator, gates) in RECURRENT {
        let model = weights(Onnx::new(17).input("x", &SEQUENCE), gates)
            .node(operator, &["x", "w", "r"], "y", &[("hidden_size", 3)])
            .output("y", &STATES);
        for shape in [[3, 0, 2], [0, 1, 2], [0, 0, 2]] {
            assert_refused(&*backend, model.bytes(), &[zeros(&shape)], &format!("node `node_y` ({operator})"));
        }
        let output = load(&*backend, model.bytes()).run(&[zeros(&[2, 1, 2])]).expect("a run").remove(0).1;
        assert_eq!(output.dimensions, [2, 1, 1, 3], "{operator}");
    }
}

/// A part of the rows. onnxruntime needs names of the graphs of branches and loops, which these models cannot have.
#[test]
fn rows_that_the_model_computes_do_not_end_the_process() {
    let Some(backend) = onnxruntime() else { return };
    let count = |value: i64| Tensor::new(vec![1], TensorType::I64, value.to_le_bytes().to_vec());
    for (operator, gates) in RECURRENT {
        let part = || {
            weights(Onnx::new(17).input("x", &SEQUENCE).int_input("end", &[Some(1)]), gates)
                .ints("first", &[0])
                .ints("rows", &[1])
                .node("Slice", &["x", "first", "end", "rows"], "part", &[])
        };
        let plain = part().node(operator, &["part", "w", "r"], "y", &[("hidden_size", 3)]).output("y", &STATES);
        assert_refused(
            &*backend,
            plain.bytes(),
            &[zeros(&[2, 3, 2]), count(0)],
            &format!("node `node_y` ({operator})"),
        );
        let rows = load(&*backend, plain.bytes()).run(&[zeros(&[2, 3, 2]), count(1)]);
        assert!(rows.is_ok(), "{operator}: {rows:?}");
    }
}

#[test]
fn rows_in_a_function_do_not_end_the_process() {
    let Some(backend) = onnxruntime() else { return };
    for (operator, gates) in RECURRENT {
        let mut network = node(operator, "", &["a", "w", "r"], "c");
        // `hidden_size = 3`, of the type INT.
        field(&mut network, 5, b"\x0A\x0Bhidden_size\x18\x03\xA0\x01\x02");
        let mut function = function_of("Outer", &[network]);
        field(&mut function, 4, b"w");
        field(&mut function, 4, b"r");
        let model = weights(Onnx::new(17).input("x", &SEQUENCE).input("unused", &[None]), gates)
            .node("Outer", &["x", "unused", "w", "r"], "y", &[])
            .with_domain("own")
            .output("y", &STATES);
        let mut bytes = model.bytes();
        field(&mut bytes, 8, &[b"\x0A\x03own".as_slice(), &[0x10, 1]].concat());
        field(&mut bytes, 25, &function);
        assert_refused(&*backend, bytes.clone(), &[zeros(&[3, 0, 2]), zeros(&[1])], operator);
        let rows = load(&*backend, bytes).run(&[zeros(&[3, 1, 2]), zeros(&[1])]);
        assert!(rows.is_ok(), "{operator}: {rows:?}");
    }
}

#[test]
fn other_inputs_without_elements_do_not_end_the_process() {
    let Some(backend) = onnxruntime() else { return };
    let any = [None; 5];
    let transposed =
        Onnx::new(13).input("x", &any).input("w", &any).node("ConvTranspose", &["x", "w"], "y", &[]).output("y", &any);
    for shape in [[1, 1, 0, 4, 5], [1, 1, 3, 0, 5]] {
        let inputs = [zeros(&shape), zeros(&[1, 2, 3, 3, 3])];
        assert_refused(&*backend, transposed.bytes(), &inputs, "node `node_y` (ConvTranspose)");
    }
    let two = [None, None];
    let unique = |attributes: &[(&str, i64)]| {
        Onnx::new(13).input("x", &two).node("Unique", &["x"], "y", attributes).output("y", &two)
    };
    for axis in [0, 1] {
        let shape = if axis == 0 { [3, 0] } else { [0, 3] };
        assert_refused(&*backend, unique(&[("axis", axis)]).bytes(), &[zeros(&shape)], "node `node_y` (Unique)");
    }
    let result = load(&*backend, unique(&[("axis", 0)]).bytes()).run(&[zeros(&[3, 1])]).expect("a run");
    assert_eq!(result[0].1.dimensions, [1, 1]);
}

/// onnxruntime writes to outputs without names.
#[test]
fn outputs_without_names_do_not_end_the_process() {
    let Some(backend) = onnxruntime() else { return };
    let list = [None];
    let x = floats(&[3], &[1.0, -2.0, 3.0]);
    let split = Onnx::new(17)
        .input("x", &list)
        .ints("sizes", &[1, 2])
        .node("Split", &["x", "sizes"], "", &[])
        .with_outputs(&["y"])
        .output("y", &list);
    let (_, y) = load(&*backend, split.bytes()).run(&[x]).expect("a run").remove(0);
    assert_eq!(y.data, floats(&[2], &[-2.0, 3.0]).data);
}
