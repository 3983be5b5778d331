//! The engine without the rules of this crate, on ONNX's node tests: what it would answer, and so why the rules are needed.

use std::panic::catch_unwind;
use std::path::Path;

use rten::{ModelOptions, Value, ValueOrView};
use rten_onnx::onnx::{DataType, TensorProto};
use rten_tensor::Tensor;
use rten_tensor::prelude::*;

use crate::node_tests::{folders, model, tensors};

/// What became of a test.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Verdict {
    Right,
    Rejected,
    Failed,
    Wrong,
    Random,
}

/// The elements of a tensor as numbers; `None` for a type that the engine does not have.
fn numbers(tensor: &TensorProto) -> Option<Vec<f64>> {
    let raw = tensor.raw_data.as_ref().map(|raw| raw.borrow().clone());
    let bytes = raw.as_deref();
    Some(match (tensor.data_type?, bytes) {
        (DataType::FLOAT, Some(raw)) => raw.as_chunks().0.iter().map(|&it| f32::from_le_bytes(it).into()).collect(),
        (DataType::INT32, Some(raw)) => raw.as_chunks().0.iter().map(|&it| i32::from_le_bytes(it).into()).collect(),
        (DataType::INT64, Some(raw)) => raw.as_chunks().0.iter().map(|&it| i64::from_le_bytes(it) as f64).collect(),
        (DataType::DOUBLE, Some(raw)) => raw.as_chunks().0.iter().map(|&it| f64::from_le_bytes(it)).collect(),
        (DataType::UINT8 | DataType::BOOL, Some(raw)) => raw.iter().map(|&byte| byte.into()).collect(),
        (DataType::INT8, Some(raw)) => raw.iter().map(|&byte| f64::from(byte as i8)).collect(),
        (DataType::FLOAT, None) => tensor.float_data.iter().map(|&it| it.into()).collect(),
        (DataType::INT64, None) => tensor.int64_data.iter().map(|&it| it as f64).collect(),
        (DataType::DOUBLE, None) => tensor.double_data.clone(),
        (DataType::INT32 | DataType::UINT8 | DataType::BOOL | DataType::INT8, None) => {
            tensor.int32_data.iter().map(|&it| it.into()).collect()
        }
        _ => return None,
    })
}

/// The tensor as the engine takes it: 64-bit integers and booleans as INT32, DOUBLE as FLOAT.
fn given(tensor: &TensorProto) -> Option<Value> {
    let shape: Vec<usize> = tensor.dims.iter().map(|&size| usize::try_from(size).expect("a size")).collect();
    let numbers = numbers(tensor)?;
    Some(match tensor.data_type? {
        DataType::FLOAT | DataType::DOUBLE => {
            Tensor::from_data(&shape, numbers.iter().map(|&it| it as f32).collect::<Vec<_>>()).into()
        }
        DataType::UINT8 => Tensor::from_data(&shape, numbers.iter().map(|&it| it as u8).collect::<Vec<_>>()).into(),
        DataType::INT8 => Tensor::from_data(&shape, numbers.iter().map(|&it| it as i8).collect::<Vec<_>>()).into(),
        _ => Tensor::from_data(&shape, numbers.iter().map(|&it| it as i32).collect::<Vec<_>>()).into(),
    })
}

/// The elements of a value of the engine; `None` for a sequence.
fn found(value: &Value) -> Option<Vec<f64>> {
    Some(match value {
        Value::FloatTensor(tensor) => tensor.iter().map(|&it| it.into()).collect(),
        Value::Int32Tensor(tensor) => tensor.iter().map(|&it| it.into()).collect(),
        Value::Int8Tensor(tensor) => tensor.iter().map(|&it| it.into()).collect(),
        Value::UInt8Tensor(tensor) => tensor.iter().map(|&it| it.into()).collect(),
        _ => return None,
    })
}

/// Compares with the tolerances of ONNX's runner. `absolute` is larger for Fourier transforms, as in `onnx_conformance`.
fn is_right(value: &Value, expected: &TensorProto, absolute: f64) -> bool {
    let (Some(found), Some(numbers)) = (found(value), numbers(expected)) else { return false };
    let is_close = |(&found, &expected): (&f64, &f64)| {
        found == expected
            || found.is_nan() && expected.is_nan()
            || (found - expected).abs() <= absolute + 1e-3 * expected.abs()
    };
    let shape = value.shape();
    shape.iter().map(|&size| size as i64).eq(expected.dims.iter().copied())
        && found.len() == numbers.len()
        && found.iter().zip(&numbers).all(is_close)
}

fn verdict(test: &Path, bytes: Vec<u8>) -> Verdict {
    let name = test.file_name().expect("a name").to_string_lossy();
    if name.contains("bernoulli") || name.contains("training_dropout") && !name.contains("zero_ratio") {
        return Verdict::Random;
    }
    let Ok(engine) = ModelOptions::with_all_ops().load(bytes) else { return Verdict::Rejected };
    let values: Option<Vec<Value>> = tensors(test, "input").iter().map(given).collect();
    let Some(values) = values.filter(|values| values.len() == engine.input_ids().len()) else { return Verdict::Failed };
    let inputs = engine.input_ids().iter().copied().zip(values.into_iter().map(ValueOrView::from)).collect();
    let Ok(outputs) = engine.run(inputs, engine.output_ids(), None) else { return Verdict::Failed };
    let expected = tensors(test, "output");
    // Elements of a type that the engine does not have, and sequences, cannot be compared.
    if expected.is_empty() || expected.iter().any(|expected| numbers(expected).is_none()) {
        return Verdict::Failed;
    }
    let all = outputs.len() == expected.len();
    let absolute = if name.starts_with("test_dft") || name.starts_with("test_stft") { 5e-4 } else { 1e-7 };
    if all && outputs.iter().zip(&expected).all(|(value, expected)| is_right(value, expected, absolute)) {
        Verdict::Right
    } else {
        Verdict::Wrong
    }
}

#[test]
fn the_engine_alone_on_the_node_tests() {
    let Some(tests) = folders() else { return };
    let mut counts = std::collections::BTreeMap::new();
    for test in tests {
        let Some(bytes) = model(&test) else { continue };
        let verdict = catch_unwind(|| verdict(&test, bytes)).unwrap_or(Verdict::Failed);
        *counts.entry(verdict).or_insert(0) += 1;
        if verdict == Verdict::Wrong {
            println!("wrong: {}", test.file_name().expect("a name").to_string_lossy());
        }
    }
    println!("{counts:?}");
    // `host/docs/fidelity.md` quotes these counts, which belong to a version of the engine.
    let count = |verdict| counts.get(&verdict).copied().unwrap_or(0);
    assert_eq!((count(Verdict::Right), count(Verdict::Wrong)), (920, 20));
}
