//! Divisions: by one element before rounding, and of the least integer by −1, which would end the process on onnxruntime
//! and makes rten panic. The right answers are computed here.

use plimsoll_runtime::nn::{Backend, BackendName, Model};
use plimsoll_runtime::tensor::{Tensor, TensorType};
use plimsoll_tests::onnx::Onnx;
use rten_onnx::onnx::DataType;
use serde_json::json;

use crate::batch_rows::load;
use crate::stored_model::{assert_right, floats};

/// The backends with their names.
pub(crate) fn backends() -> Vec<(&'static str, Box<dyn Backend>)> {
    let open = |name: &str, settings: serde_json::Value| {
        name.parse::<BackendName>().expect("known").open(&settings, std::path::Path::new("")).expect("opened")
    };
    let mut backends = vec![("rten", open("rten", serde_json::Value::Null))];
    if let Some(library) = crate::models::onnxruntime() {
        backends.push(("onnxruntime", open("onnxruntime", json!({ "library": library, "sessions": 1 }))));
    }
    backends
}

pub(crate) fn ints(values: &[i64], ty: TensorType) -> Tensor {
    let data = match ty {
        TensorType::I64 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        _ => values.iter().flat_map(|&value| (value as i32).to_le_bytes()).collect(),
    };
    Tensor::new(vec![values.len() as u32], ty, data)
}

/// The elements of the first output, whether it has 32 or 64 bits.
pub(crate) fn run(model: &dyn Model, inputs: &[Tensor]) -> Result<Vec<i64>, String> {
    let (_, output) = model.run(inputs).map_err(|error| error.to_string())?.remove(0);
    Ok(match output.ty {
        TensorType::I64 => output.data.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect(),
        _ => output.data.as_chunks().0.iter().map(|&bytes| i32::from_le_bytes(bytes).into()).collect(),
    })
}

/// `y = x / z` or a remainder, in the main graph, in a branch, or in the body of a loop that runs once.
fn divided(place: &str, operator: &str, ty: DataType) -> Onnx {
    let list = [None];
    let main = Onnx::new(13).typed_input("x", &list, ty).typed_input("z", &list, ty).typed_output("y", &list, ty);
    let branch =
        |operator: &str| Onnx::new(13).node(operator, &["x", "z"], "inner", &[]).typed_output("inner", &list, ty);
    match place {
        "branch" => main
            .int_scalar("one", 1)
            .node("Cast", &["one"], "condition", &[("to", 9)])
            .node("If", &["condition"], "y", &[])
            .with_graph("then_branch", branch(operator))
            .with_graph("else_branch", branch("Add")),
        "loop" => {
            let body = Onnx::new(13)
                .typed_input("round", &[], DataType::INT64)
                .typed_input("goes_on", &[], DataType::BOOL)
                .typed_input("state", &list, ty)
                .node("Identity", &["goes_on"], "still_goes_on", &[])
                .node(operator, &["state", "z"], "next", &[])
                .typed_output("still_goes_on", &[], DataType::BOOL)
                .typed_output("next", &list, ty);
            main.int_scalar("rounds", 1).node("Loop", &["rounds", "", "x"], "y", &[]).with_graph("body", body)
        }
        _ => main.node(operator, &["x", "z"], "y", &[]),
    }
}

#[test]
fn integers_are_divided_by_minus_one_and_zero_without_an_end_of_the_process_in_every_graph() {
    let least = i64::from(i32::MIN);
    for (backend, opened) in backends() {
        // The files that the tests write have no names of inner graphs, which onnxruntime requires; a function has
        // none.
        for place in ["main", "branch", "loop"].into_iter().filter(|&place| place == "main" || backend == "rten") {
            for operator in ["Div", "Mod"] {
                let what = format!("{operator} in {place} on {backend}");
                let model = load(&*opened, divided(place, operator, DataType::INT32).bytes());
                let of = |x: &[i64], z: &[i64]| run(&*model, &[ints(x, TensorType::I32), ints(z, TensorType::I32)]);
                // 32 bits wrap.
                let expected = if operator == "Div" { vec![least, -7, -3, 2] } else { vec![0, 0, 1, 1] };
                assert_eq!(of(&[least, 7, -7, 9], &[-1, -1, 2, 4]), Ok(expected), "{what}");
                let error = of(&[7, 1], &[1, 0]).expect_err("no number is divided by 0");
                assert!(error.to_lowercase().contains("zero"), "{what}: {error}");
                // The least number of 64 bits; rten takes numbers of 32 bits only, and the quotient needs 33.
                let model = load(&*opened, divided(place, operator, DataType::INT64).bytes());
                let of = |x: &[i64], z: &[i64]| run(&*model, &[ints(x, TensorType::I64), ints(z, TensorType::I64)]);
                if backend == "onnxruntime" {
                    let expected = if operator == "Div" { vec![i64::MIN, -3] } else { vec![0, 1] };
                    assert_eq!(of(&[i64::MIN, -7], &[-1, 2]), Ok(expected), "{what}");
                } else if operator == "Div" {
                    let error = of(&[least, -7], &[-1, 2]).expect_err("2^31 needs more than 32 bits");
                    assert!(error.contains("exceeds 32 bits"), "{what}: {error}");
                    assert_eq!(of(&[9, -7], &[-1, 2]), Ok(vec![-9, -3]), "{what}");
                }
            }
        }
    }
}

/// Adds a field of bytes to a message (Protocol Buffers, "Encoding").
pub(crate) fn field(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    let tag = u32::from(number) << 3 | 2;
    for mut value in [tag, bytes.len() as u32] {
        while value >= 0x80 {
            message.push(value as u8 | 0x80);
            value >>= 7;
        }
        message.push(value as u8);
    }
    message.extend(bytes);
}

/// A node as a message.
pub(crate) fn node(operator: &str, domain: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let mut node = Vec::new();
    inputs.iter().for_each(|input| field(&mut node, 1, input.as_bytes()));
    field(&mut node, 2, output.as_bytes());
    field(&mut node, 4, operator.as_bytes());
    field(&mut node, 7, domain.as_bytes());
    node
}

/// The function `own.name(a, b)` of one node, of operator set 17.
fn function(name: &str, node: &[u8]) -> Vec<u8> {
    function_of(name, &[node.to_vec()])
}

/// The function `own.name(a, b)` of several nodes.
pub(crate) fn function_of(name: &str, nodes: &[Vec<u8>]) -> Vec<u8> {
    let mut function = Vec::new();
    field(&mut function, 1, name.as_bytes());
    field(&mut function, 4, b"a");
    field(&mut function, 4, b"b");
    field(&mut function, 5, b"c");
    nodes.iter().for_each(|node| field(&mut function, 7, node));
    // The standard operator set, version 17 (a number in field 2), and the functions themselves.
    field(&mut function, 9, &[0x10, 17]);
    field(&mut function, 9, &[b"\x0A\x03own".as_slice(), &[0x10, 1]].concat());
    field(&mut function, 10, b"own");
    function
}

/// A model that calls `own.Outer` with lists of a type.
pub(crate) fn calling(ty: DataType, functions: &[Vec<u8>]) -> Vec<u8> {
    let list = [None];
    let onnx = Onnx::new(17)
        .typed_input("x", &list, ty)
        .typed_input("z", &list, ty)
        .node("Outer", &["x", "z"], "y", &[])
        .with_domain("own")
        .typed_output("y", &list, ty);
    let mut bytes = onnx.bytes();
    field(&mut bytes, 8, &[b"\x0A\x03own".as_slice(), &[0x10, 1]].concat());
    functions.iter().for_each(|function| field(&mut bytes, 25, function));
    bytes
}

/// The file states FLOAT for a sum of integers in a function, where nothing checks it.
#[test]
fn a_type_that_contradicts_the_operators_does_not_end_the_process() {
    for (_, opened) in backends().into_iter().filter(|(backend, _)| *backend == "onnxruntime") {
        let nodes =
            [node("Add", "", &["a", "a"], "s"), node("Sub", "", &["s", "a"], "t"), node("Div", "", &["t", "b"], "c")];
        let mut function = function_of("Outer", &nodes);
        // Name, and the type of a tensor of FLOAT.
        for name in [b"s", b"t"] {
            field(&mut function, 12, &[b"\x0A\x01".as_slice(), name, &[0x12, 4, 0x0A, 2, 0x08, 1]].concat());
        }
        let source = crate::batch_rows::source(calling(DataType::INT32, &[function]));
        // The library may check the types.
        let Ok(model) = opened.load(&source) else { continue };
        let found = run(&*model, &[ints(&[i64::from(i32::MIN), 7], TensorType::I32), ints(&[-1, -1], TensorType::I32)]);
        assert_eq!(found, Ok(vec![i64::from(i32::MIN), -7]));
    }
}

#[test]
fn functions_with_too_many_nodes_in_all_calls_are_rejected() {
    // Each value is defined once, as ONNX demands.
    let output = |index: usize| if index == 0 { "c".to_owned() } else { format!("s{index}") };
    let calls =
        |name: &str| -> Vec<Vec<u8>> { (0..100).map(|index| node(name, "own", &["a", "b"], &output(index))).collect() };
    let additions: Vec<Vec<u8>> = (0..200).map(|index| node("Add", "", &["a", "b"], &output(index))).collect();
    let functions = [
        function_of("Inner", &additions),
        function_of("Middle", &calls("Inner")),
        function_of("Outer", &calls("Middle")),
    ];
    let source = crate::batch_rows::source(calling(DataType::INT32, &functions));
    for (_, opened) in backends().into_iter().filter(|(backend, _)| *backend == "onnxruntime") {
        let error = opened.load(&source).err().expect("rejected").to_string();
        for part in ["calls a function", "300000 nodes in all calls", "export the model without functions"] {
            assert!(error.contains(part), "`{part}` in {error}");
        }
    }
}

/// A division in a function that another function calls.
#[test]
fn the_least_integer_divided_by_minus_one_in_a_function_does_not_end_the_process() {
    for (backend, opened) in backends().into_iter().filter(|(backend, _)| *backend == "onnxruntime") {
        for ty in [DataType::INT32, DataType::INT64, DataType::FLOAT] {
            let functions = [
                function("Inner", &node("Div", "", &["a", "b"], "c")),
                function("Outer", &node("Inner", "own", &["a", "b"], "c")),
            ];
            let bytes = calling(ty, &functions);
            let model = load(&*opened, bytes);
            if ty == DataType::FLOAT {
                let list = |values: &[f32]| {
                    let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                    Tensor::new(vec![values.len() as u32], TensorType::Fp32, data)
                };
                let inputs = [list(&[1.5, f32::INFINITY, 3.0]), list(&[-1.0, -1.0, -2.0])];
                let (_, output) = model.run(&inputs).expect("a run").remove(0);
                let found: Vec<f32> = output.data.as_chunks().0.iter().map(|&it| f32::from_le_bytes(it)).collect();
                assert_eq!(found, [-1.5, f32::NEG_INFINITY, -1.5]);
                continue;
            }
            let (ty, least) = match ty {
                DataType::INT64 => (TensorType::I64, i64::MIN),
                _ => (TensorType::I32, i64::from(i32::MIN)),
            };
            let found = run(&*model, &[ints(&[least, 7, -7], ty), ints(&[-1, -1, 2], ty)]);
            assert_eq!(found, Ok(vec![least, -7, -3]), "{backend}");
        }
    }
}

/// 15 · 1.1 / 1.1 is 15, but 15 · 1.1 · (1 / 1.1) is less in FLOAT. The divisor comes with the request, in any shape of one
/// element.
#[tokio::test(flavor = "multi_thread")]
async fn a_divisor_of_a_request_is_not_replaced_by_its_inverse_before_rounding() {
    let (x, z) = (15.0f32 * 1.1, 1.1f32);
    let expected = f64::from((x / z).floor());
    assert!((x * (1.0 / z)).floor() < x / z, "the inverse gives another number");
    for operator in ["Floor", "Cast"] {
        for (rank, count) in [(0, 1), (1, 1), (2, 1), (1, 3)] {
            let dynamic = |rank: usize| vec![None; rank];
            let mut model =
                Onnx::new(13).input("x", &dynamic(rank)).input("z", &dynamic(1)).node("Div", &["x", "z"], "ratio", &[]);
            let to = if operator == "Cast" { &[("to", 7)][..] } else { &[] };
            model = model.node(operator, &["ratio"], "y", to);
            let rank_of_y = rank.max(1);
            model = if operator == "Cast" {
                model.int_output("y", &dynamic(rank_of_y))
            } else {
                model.output("y", &dynamic(rank_of_y))
            };
            let shape: Vec<usize> = (0..rank).map(|axis| if axis == 0 { count } else { 1 }).collect();
            let inputs = [floats("x", &shape, &vec![x; count]), floats("z", &[1], &[z])];
            let shape: Vec<usize> = if rank == 0 { vec![1] } else { shape };
            assert_right(&model, &inputs, &shape, &vec![expected; count], &format!("{operator}, {shape:?}")).await;
        }
    }
}
