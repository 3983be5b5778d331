//! Models and requests with which onnxruntime would end the process, never end, or read files that are not the model's.

use std::sync::Arc;

use plimsoll_runtime::nn::{Backend, Model};
use plimsoll_runtime::tensor::{Tensor, TensorType};
use plimsoll_tests::onnx::Onnx;
use rten_onnx::onnx::DataType;

use crate::batch_rows::{load, source};
use crate::onnx_division::{backends, calling, field, function_of, ints, node, run};

fn onnxruntime() -> Option<Box<dyn Backend>> {
    backends().into_iter().find(|(name, _)| *name == "onnxruntime").map(|(_, backend)| backend)
}

fn scalar(value: i64) -> Tensor {
    Tensor::new(Vec::new(), TensorType::I64, value.to_le_bytes().to_vec())
}

fn ones(shape: &[u32]) -> Tensor {
    let count = shape.iter().product::<u32>() as usize;
    Tensor::new(shape.to_vec(), TensorType::Fp32, [1.0f32.to_le_bytes()].repeat(count).concat())
}

fn refusal(model: &dyn Model, inputs: &[Tensor]) -> String {
    model.run(inputs).expect_err("refused").to_string()
}

/// The divisor is −1 in the second element, which follows from constants.
#[test]
fn the_least_integer_divided_by_a_computed_constant_does_not_end_the_process() {
    let Some(backend) = onnxruntime() else { return };
    let least = i64::from(i32::MIN);
    let list = [None];
    let divided = Onnx::new(13)
        .typed_input("x", &list, DataType::INT32)
        .ints("wide", &[5, 4_294_967_295])
        .node("Cast", &["wide"], "divisor", &[("to", 6)])
        .node("Div", &["x", "divisor"], "y", &[])
        .typed_output("y", &list, DataType::INT32);
    let model = load(&*backend, divided.bytes());
    assert_eq!(run(&*model, &[ints(&[9, least], TensorType::I32)]), Ok(vec![1, least]));
    let table = [None, None];
    let pairs = Onnx::new(13)
        .int_input("x", &table)
        .ints("column", &[1, -3])
        .ints("row", &[2, 5])
        .ints("high", &[2, 1])
        .ints("low", &[1, 2])
        .node("Reshape", &["column", "high"], "a", &[])
        .node("Reshape", &["row", "low"], "b", &[])
        .node("Add", &["a", "b"], "divisor", &[])
        .node("Div", &["x", "divisor"], "y", &[])
        .int_output("y", &table);
    let model = load(&*backend, pairs.bytes());
    let mut x = ints(&[6, 6, i64::MIN, 6], TensorType::I64);
    x.dimensions = vec![2, 2];
    assert_eq!(run(&*model, &[x]), Ok(vec![2, 1, i64::MIN, 3]));
}

/// Two functions of one name; the node calls the second. The parser does not read the overload.
#[test]
fn a_division_in_an_overload_of_a_function_does_not_end_the_process() {
    let Some(backend) = onnxruntime() else { return };
    for called in ["one", "two"] {
        let overload = |name: &str, operator: &str| {
            let mut function = function_of("Outer", &[node(operator, "", &["a", "b"], "c")]);
            field(&mut function, 13, name.as_bytes());
            function
        };
        let functions = [overload("one", "Div"), overload("two", "Div")];
        let list = [None];
        let main = Onnx::new(17)
            .typed_input("x", &list, DataType::INT32)
            .typed_input("z", &list, DataType::INT32)
            .typed_output("y", &list, DataType::INT32);
        let mut bytes = main.bytes();
        let mut call = node("Outer", "own", &["x", "z"], "y");
        field(&mut call, 8, called.as_bytes());
        bytes = with_node(&bytes, &call);
        field(&mut bytes, 8, &[b"\x0A\x03own".as_slice(), &[0x10, 1]].concat());
        functions.iter().for_each(|function| field(&mut bytes, 25, function));
        // Overloads came with version 10 of the format; the last value of a field counts.
        bytes.extend([0x08, 10]);
        let model = load(&*backend, bytes);
        let least = i64::from(i32::MIN);
        let inputs = [ints(&[least, 7], TensorType::I32), ints(&[-1, -1], TensorType::I32)];
        assert_eq!(run(&*model, &inputs), Ok(vec![least, -7]), "{called}");
    }
}

/// Adds a node to the graph of a model.
fn with_node(model: &[u8], node: &[u8]) -> Vec<u8> {
    let mut added = Vec::new();
    field(&mut added, 1, node);
    with_graph_field(model, &added)
}

/// Adds a field to the graph of a model, which is the only field 7.
pub(crate) fn with_graph_field(model: &[u8], added: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = model;
    while let Some((&tag, after)) = rest.split_first() {
        let (mut value, mut shift, mut after) = (0usize, 0, after);
        while let Some((&byte, more)) = after.split_first() {
            after = more;
            value |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let length = if tag & 7 == 2 { value } else { 0 };
        let (inside, next) = after.split_at(length);
        if tag == 7 << 3 | 2 {
            field(&mut out, 7, &[inside, added].concat());
        } else {
            out.extend(&rest[..rest.len() - next.len()]);
        }
        rest = next;
    }
    out
}

/// The call of the function gives the divisor, −1; the body has an attribute that only refers to it.
#[test]
fn a_divisor_that_the_call_of_a_function_gives_does_not_end_the_process() {
    let Some(backend) = onnxruntime() else { return };
    let mut divisor = node("Constant", "", &[], "d");
    // `value_ints = @v`, of the type INTS.
    field(&mut divisor, 5, b"\x0A\x0Avalue_ints\xA0\x01\x07\xAA\x01\x01v");
    let mut function = function_of("Outer", &[divisor, node("Div", "", &["a", "d"], "c")]);
    field(&mut function, 6, b"v");
    let list = [None];
    let main = Onnx::new(17)
        .int_input("x", &list)
        .int_input("z", &list)
        .node("Outer", &["x", "z"], "y", &[])
        .with_domain("own")
        .with_lists(&[("v", &[-1])])
        .int_output("y", &list);
    let mut bytes = main.bytes();
    field(&mut bytes, 8, &[b"\x0A\x03own".as_slice(), &[0x10, 1]].concat());
    field(&mut bytes, 25, &function);
    let model = load(&*backend, bytes);
    let inputs = [ints(&[i64::MIN, 7], TensorType::I64), ints(&[1, 1], TensorType::I64)];
    assert_eq!(run(&*model, &inputs), Ok(vec![i64::MIN, -7]));
}

#[test]
fn frames_without_a_length_do_not_end_the_process() {
    let Some(backend) = onnxruntime() else { return };
    let with_length = Onnx::new(17)
        .input("x", &[None, None, Some(1)])
        .int_input("step", &[])
        .int_input("length", &[])
        .node("STFT", &["x", "step", "", "length"], "y", &[])
        .output("y", &[None; 4]);
    let model = load(&*backend, with_length.bytes());
    let of = |step: i64, length: i64| [ones(&[1, 16, 1]), scalar(step), scalar(length)];
    assert_eq!(model.run(&of(4, 8)).expect("a run")[0].1.dimensions, [1, 3, 5, 2]);
    for (step, length, reason) in
        [(4, 0, "frame_length"), (4, -8, "frame_length"), (0, 8, "frame_step"), (-1, 0, "frame_step")]
    {
        let error = refusal(&*model, &of(step, length));
        assert!(error.contains(&format!("node `node_y` (STFT) got a {reason} that is not positive")), "{error}");
    }
    let with_window = Onnx::new(17)
        .input("x", &[None, None, Some(1)])
        .int_input("step", &[])
        .input("window", &[None])
        .node("STFT", &["x", "step", "window"], "y", &[])
        .output("y", &[None; 4]);
    let model = load(&*backend, with_window.bytes());
    let of = |window: u32| [ones(&[1, 16, 1]), scalar(4), ones(&[window])];
    assert_eq!(model.run(&of(8)).expect("a run")[0].1.dimensions, [1, 3, 5, 2]);
    let error = refusal(&*model, &of(0));
    assert!(error.contains("node `node_y` (STFT) got a window without elements"), "{error}");
}

#[test]
fn a_convolution_with_an_empty_window_of_the_request_ends() {
    let Some(backend) = onnxruntime() else { return };
    let any = [None; 4];
    let convolution =
        Onnx::new(13).input("x", &any).input("w", &any).node("Conv", &["x", "w"], "y", &[]).output("y", &any);
    let model = load(&*backend, convolution.bytes());
    let (_, y) = model.run(&[ones(&[1, 2, 3, 3]), ones(&[1, 2, 2, 2])]).expect("a run").remove(0);
    assert_eq!((y.dimensions.as_slice(), &y.data[..4]), ([1, 1, 2, 2].as_slice(), 8.0f32.to_le_bytes().as_slice()));
    for window in [[0, 0], [0, 1], [1, 0]] {
        let error = refusal(&*model, &[ones(&[1, 2, 3, 3]), ones(&[1, 2, window[0], window[1]])]);
        assert!(error.contains("node `node_y` (Conv) got weights without elements"), "{error}");
    }
}

#[test]
fn an_output_that_is_an_input_is_a_copy_of_it() {
    let Some(backend) = onnxruntime() else { return };
    let list = [None];
    let models = [
        Onnx::new(13).int_input("x", &list).int_output("x", &list),
        Onnx::new(13).int_input("x", &list).node("Identity", &["x"], "y", &[]).int_output("y", &list),
        Onnx::new(13).int_input("x", &list).node("Neg", &["x"], "y", &[]).int_output("x", &list).int_output("y", &list),
    ];
    for model in models {
        // The library may refuse a model without nodes.
        let Ok(model) = backend.load(&source(model.bytes())) else { continue };
        let numbers: Vec<i64> = (0..1000).collect();
        for _ in 0..50 {
            assert_eq!(run(&*model, &[ints(&numbers, TensorType::I64)]), Ok(numbers.clone()));
        }
        // Bytes that are not aligned are copied, and the copy is the input.
        let mut shifted = vec![0u8; 1];
        numbers.iter().for_each(|number| shifted.extend(number.to_le_bytes()));
        let tensor = Tensor::new(vec![1000], TensorType::I64, shifted[1..].to_vec());
        assert_eq!(run(&*model, &[tensor]), Ok(numbers));
    }
}

/// The working directory of the tests has the file; the model's folder is another.
#[test]
fn a_function_does_not_read_weights_from_the_working_directory() {
    let Some(backend) = onnxruntime() else { return };
    let mut tensor = vec![0x08, 1, 0x10, 7];
    field(&mut tensor, 8, b"weight");
    field(&mut tensor, 13, b"\x0A\x08location\x12\x0ACargo.toml");
    field(&mut tensor, 13, b"\x0A\x06length\x12\x018");
    tensor.extend([14 << 3, 1]);
    let mut attribute = b"\x0A\x05value\xA0\x01\x04".to_vec();
    field(&mut attribute, 5, &tensor);
    let mut constant = node("Constant", "", &[], "k");
    field(&mut constant, 5, &attribute);
    let functions = [function_of("Outer", &[constant, node("Add", "", &["a", "k"], "c")])];
    let mut model = source(calling(DataType::INT64, &functions));
    for external in [Vec::new(), vec![("Cargo.toml".to_owned(), Arc::new(7i64.to_le_bytes().to_vec()))]] {
        model.external = external;
        let error = backend.load(&model).err().expect("rejected").to_string();
        for part in ["tensor `weight`", "`Cargo.toml`", "main graph only", "load_external_data_for_model"] {
            assert!(error.contains(part), "`{part}` in {error}");
        }
    }
}

/// onnxruntime 1.32 writes beyond the memory of a past state of one step, and ends the process.
#[test]
fn attention_that_shares_the_memory_of_its_state_is_refused() {
    let Some(backend) = onnxruntime() else { return };
    let shape = [Some(1), Some(1), Some(4)];
    let state = [Some(1), Some(1), Some(1), Some(4)];
    let model = |shares: i64| {
        let inputs = ["q", "k", "v", "", "", "past_key", "past_value", "length"];
        let attributes = [("num_heads", 1), ("past_present_share_buffer", shares)];
        let model = Onnx::new(17).import("com.microsoft", 1);
        let model = ["q", "k", "v"].iter().fold(model, |model, name| model.input(name, &shape));
        let model = ["past_key", "past_value"].iter().fold(model, |model, name| model.input(name, &state));
        let model = model.typed("length", &[1], DataType::INT32, &1i32.to_le_bytes());
        let model =
            model.node("DecoderMaskedMultiHeadAttention", &inputs, "y", &attributes).with_domain("com.microsoft");
        model.output("y", &shape).bytes()
    };
    let refusal =
        |shares| backend.load(&source(model(shares))).err().map(|error| error.to_string()).unwrap_or_default();
    let message = refusal(1);
    assert!(message.contains("`past_present_share_buffer`"), "{message}");
    assert!(message.contains("(DecoderMaskedMultiHeadAttention, operator set 17)"), "{message}");
    assert!(!refusal(0).contains("past_present_share_buffer"), "{}", refusal(0));
}

/// Six values of 200 million elements each: one of them is small enough, all together are not.
#[test]
fn tensors_whose_sizes_a_request_states_are_limited_together() {
    let (_, rten) = backends().into_iter().find(|(name, _)| *name == "rten").expect("a backend");
    let model = |count: usize| {
        let model = Onnx::new(13).int_input("n", &[Some(1)]);
        let (model, sum) = (0..count).fold((model, String::new()), |(model, before), at| {
            let (part, sum) = (format!("part_{at}"), format!("sum_{at}"));
            let model = model.node("ConstantOfShape", &["n"], &part, &[]);
            if before.is_empty() { (model, part) } else { (model.node("Add", &[&before, &part], &sum, &[]), sum) }
        });
        load(&*rten, model.node("ReduceMax", &[&sum], "y", &[("keepdims", 0)]).output("y", &[]).bytes())
    };
    let number = |number: i64| ints(&[number], TensorType::I64);
    let six = model(6);
    let message = refusal(&*six, &[number(200_000_000)]);
    assert!(message.contains("a tensor is too large at node"), "{message}");
    assert!(six.run(&[number(1_000_000)]).is_ok());
    // Of very many, usually a few are needed at the same time.
    let many = model(100);
    assert!(many.run(&[number(1 << 20)]).is_ok());
    let message = refusal(&*many, &[number((1 << 25) + 100)]);
    assert!(message.contains("a tensor is too large at node"), "{message}");
}
